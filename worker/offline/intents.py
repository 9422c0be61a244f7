"""What a prompt asks of the offline model, found with a handful of patterns."""

import re
from dataclasses import dataclass

_LANGUAGES = (
    "Arabic|Bulgarian|Catalan|Chinese|Croatian|Czech|Danish|Dutch|English|Esperanto|"
    "Estonian|Finnish|French|German|Greek|Hebrew|Hindi|Hungarian|Indonesian|Irish|"
    "Italian|Japanese|Korean|Latin|Latvian|Lithuanian|Norwegian|Persian|Polish|"
    "Portuguese|Romanian|Russian|Serbian|Slovak|Slovenian|Spanish|Swahili|Swedish|"
    "Thai|Turkish|Ukrainian|Vietnamese"
)
_LONGEST_PROMPT = 600


@dataclass(frozen=True)
class Create:
    """Create an agent; without a name the model chooses one."""

    name: str
    task: str


@dataclass(frozen=True)
class Rename:
    """Rename an agent; `new` is empty where the prompt does not say to what."""

    who: str
    new: str


@dataclass(frozen=True)
class Remove:
    """Remove an agent."""

    who: str


@dataclass(frozen=True)
class Speak:
    """Let an agent answer in a language."""

    who: str
    language: str


@dataclass(frozen=True)
class HandOff:
    """Let one agent hand off to another."""

    source: str
    target: str


@dataclass(frozen=True)
class Instruct:
    """Add to an agent's instructions."""

    who: str
    text: str


@dataclass(frozen=True)
class AddTool:
    """Give an agent a function tool that does nothing yet."""

    who: str
    name: str


@dataclass(frozen=True)
class Describe:
    """Say what the workflow does."""


Intent = Create | Rename | Remove | Speak | HandOff | Instruct | AddTool | Describe


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_POLITE = _compiled(
    r"(?:please|can you|could you|would you|will you|now|ok|okay|so|also|then|and|let's|"
    r"i want you to|i'd like you to|i would like you to)[\s,]+"
)
_CLAUSE = _compiled(
    r"(?<!\s)\s*(?:\n|\.\s)\s*|(?<!\s),?\s+(?=and\s|then\s)|,\s+(?=(?:let|make|add|give|an?)\s)"
)
_MAKE = r"(?:create|add|make|build|define|write|set up|i need|i want|we need)"
_LANGUAGE = rf"\b(?P<language>{_LANGUAGES})\b"
_DESCRIBE = _compiled(
    r"(?:what|which|how many|how does|who|describe|explain|summari[sz]e|outline|list|show)\b"
)
_TOOL = (
    _compiled(
        r"(?:give|add to) (?P<who>.{1,60}?) (?:an?|the|another) (?:new )?(?P<name>.{0,60}?) ?"
        r"\btool\b(?: (?:called|named|to|that|for|which) (?P<called>.{1,80}))?$"
    ),
    _compiled(
        rf"{_MAKE} (?:an?|the|another)? ?(?:new )?(?P<name>.{{0,60}}?) ?\btool\b"
        r"(?: (?:called|named) (?P<called>\S{1,60}))?(?: (?:to|for) (?P<who>.{1,60}))?$"
    ),
)
_CREATE = (
    _compiled(
        rf"(?:{_MAKE} )?(?:me )?(?:(?:an?|the|another|one|new|some) )*(?P<name>.{{0,120}}?)\s*"
        r"\bagents?\b(?: (?:called|named) (?P<called>.{1,80}?))?"
        r"(?:,? (?:that|who|which|to|for) (?P<task>.{1,200}))?$"
    ),
)
_RENAME = (
    _compiled(r"rename (?P<who>.{1,80}?)(?: (?:to|as|into) (?P<new>.{1,80}))?$"),
    _compiled(r"change (?:the )?name of (?P<who>.{1,80}?) to (?P<new>.{1,80})$"),
    _compiled(r"call (?P<who>it|this|the \S{1,60} agent) (?P<new>.{1,80})$"),
)
_REMOVE = (_compiled(r"(?:remove|delete|drop|get rid of) (?P<who>.{1,80})$"),)
_HAND_OFF = (
    _compiled(
        r"(?:let|have|make|allow)? ?(?P<source>.{1,60}?) (?:should |can |may |must |to )*"
        r"hands? ?-?(?:off|over) to (?P<target>.{1,60})$"
    ),
    _compiled(
        r"(?:add a handoff|add an edge|connect)(?: from)? (?P<source>.{1,60}?) to "
        r"(?P<target>.{1,60})$"
    ),
)
_SPEAK = (
    _compiled(
        r"(?:let|have|make|tell) (?P<who>.{1,60}?) (?:to )?"
        r"(?:answer|reply|respond|speak|talk|write|be)?s? ?(?:only |always )*(?:in )?"
        rf"{_LANGUAGE}(?: speaking)?$"
    ),
    _compiled(rf"(?:translate|switch|change|set) (?P<who>.{{0,60}}?) ?(?:in)?to {_LANGUAGE}$"),
    _compiled(
        r"(?P<who>.{1,60}?) (?:should |must )?(?:answer|reply|respond|speak)s? (?:in )?"
        rf"{_LANGUAGE}$"
    ),
    _compiled(rf"(?:add|use|speak|answer in|in|reply in) {_LANGUAGE}(?: to (?P<who>.{{1,60}}))?$"),
)
_INSTRUCT = (
    _compiled(r"(?:tell|instruct|ask) (?P<who>.{1,60}?) (?:to|that) (?P<text>.{1,300})$"),
    _compiled(r"(?P<who>.{1,60}?) (?:should|must) (?P<text>.{1,300})$"),
    _compiled(r"make (?P<who>\S{1,60}(?: agent)?) (?P<text>(?:more|less|be|very) .{1,300})$"),
)


def read_prompt(prompt: str) -> list[Intent]:
    """Return what the prompt asks for, in its order; empty if nothing is understood."""
    intents: list[Intent] = []
    for clause in _CLAUSE.split(prompt[:_LONGEST_PROMPT]):
        text = " ".join(clause.split()).strip(" ,.!?")
        while found := _POLITE.match(text):
            text = text[found.end() :]
        if not text:
            continue
        intent = _intent(text, after=intents[-1] if intents else None)
        last = intents[-1] if intents else None
        if intent is not None:
            intents.append(intent)
        elif isinstance(last, Instruct):
            intents[-1] = Instruct(last.who, f"{last.text} and {text}")
    return intents


def _intent(text: str, *, after: Intent | None) -> Intent | None:
    if _DESCRIBE.match(text):
        return Describe()
    if found := _first(_TOOL, text):
        return AddTool(found["who"] or "it", found["called"] or found["name"] or "")
    if (found := _first(_HAND_OFF, text)) is not None:
        return HandOff(found["source"], found["target"])
    if found := _first(_RENAME, text):
        return Rename(found["who"], found["new"] or "")
    if found := _first(_REMOVE, text):
        return Remove(found["who"])
    if found := _first(_SPEAK, text):
        return Speak(found["who"] or "it", found["language"].capitalize())
    if found := _first(_INSTRUCT, text):
        return Instruct(found["who"], found["text"])
    starts = re.match(rf"{_MAKE}\b", text, re.IGNORECASE) or isinstance(after, Create)
    if starts and (found := _first(_CREATE, text)):
        return Create(found["called"] or found["name"], found["task"] or "")
    return None


def _first(patterns: tuple[re.Pattern[str], ...], text: str) -> re.Match[str] | None:
    return next((found for item in patterns if (found := item.match(text))), None)
