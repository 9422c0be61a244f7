"""The offline model: rules of ours that stand in for a model until there is a key."""
