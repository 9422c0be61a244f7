"""The example modules of the Agents SDK's source distribution, read, drawn and checked."""
