"""Checks of a request's content: prompt, messages and their parts, tools, the form of the output."""

import re
from typing import Any, Final

import jsonschema_rs

from processors.classify.problems import Problems, shown
from schemas.records import ContentPart, Message, RequestEvent, ResponseFormat, Tool

_ROLES: Final = ("user", "assistant", "tool")
_MEDIA: Final = ("image", "document", "audio")
_VENDOR: Final = "vendor:"
_FORMATS: Final = ("text", "json", "json_schema")
_MAX_TOOLS: Final = 128
_MAX_URI: Final = 4096
_TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
_DRAFTS: Final = frozenset(
    ["https://json-schema.org/draft/2020-12/schema", "https://json-schema.org/draft/2019-09/schema"]
    + [f"http://json-schema.org/draft-0{n}/schema" for n in (4, 6, 7)]
)


def check_content(event: RequestEvent, size: int, most: int, problems: Problems) -> None:
    """Note every problem of the content, whose text and data take `size` of at most `most` bytes."""
    if size > most:
        message = (
            f"the content has {size} bytes; at most {most} are allowed: shorten it, or send images by uri"
        )
        problems.add("prompt_too_large", "prompt" if event.prompt is not None else "messages", message)
        return
    asked = event.prompt is not None or bool(event.content)
    if asked and event.messages:
        message = "give either prompt (with content) or messages, not both"
        problems.add("prompt_and_messages", "messages", message)
    elif not asked and not event.messages:
        problems.add("no_prompt", "prompt", "there is neither a prompt nor a message: give one of them")
    if event.prompt == "" and not event.content:
        problems.add("no_prompt", "prompt", "the prompt is empty: give it a text")
    for at, part in enumerate(event.content):
        _check_part(f"content[{at}]", part, problems)
    for at, message_ in enumerate(event.messages):
        _check_message(f"messages[{at}]", message_, problems)
    if event.response_format is not None:
        _check_format(event.response_format, problems)
    _check_tools(event.tools, event.tool_choice, problems)


def _check_message(place: str, message: Message, problems: Problems) -> None:
    if message.role in ("system", "developer"):
        text = f"{place}.role is {message.role}: put such a text into the request's field `system`"
        problems.add("unknown_value", f"{place}.role", text)
    else:
        problems.choice(f"{place}.role", message.role, _ROLES)
    problems.text(f"{place}.name", message.name)
    if not message.content:
        problems.add("no_content", f"{place}.content", f"{place} has no content: give it at least one part")
    for at, part in enumerate(message.content):
        _check_part(f"{place}.content[{at}]", part, problems)


def _check_part(place: str, part: ContentPart, problems: Problems) -> None:
    needed = _missing(part)
    if needed is None:
        known = ", ".join(("text", *_MEDIA, "tool_call", "tool_result", "thinking", "redacted_thinking"))
        message = f"{place}.type is {shown(part.type)}: use one of {known}"
        problems.add("unknown_value", f"{place}.type", message)
    elif needed:
        message = f"{place} is of type {part.type} and lacks {needed}: set it"
        problems.add("no_content", place, message)
    if part.arguments is not None:
        problems.json(f"{place}.arguments", part.arguments)
    if part.uri is not None:
        problems.text(f"{place}.uri", part.uri, _MAX_URI)
    if part.type.startswith(_VENDOR) and part.text is not None:
        problems.json(f"{place}.text", part.text)
    if part.sha256 is not None and not _SHA256.fullmatch(part.sha256):
        problems.add("invalid_hash", f"{place}.sha256", f"{place}.sha256 must be 64 hexadecimal digits")


def _missing(part: ContentPart) -> str | None:
    """What a part of its type lacks ("" where nothing); None for a type that isn't known."""
    match part.type:
        case "text":
            return "text" if part.text is None else ""
        case "thinking":
            return "text or signature" if part.text is None and part.signature is None else ""
        case "image" | "document" | "audio":
            return "data or uri" if part.data is None and part.uri is None else ""
        case "redacted_thinking":
            return "signature" if part.signature is None else ""
        case "tool_call":
            return "tool_call_id and tool_name" if not part.tool_call_id or not part.tool_name else ""
        case "tool_result":
            return "tool_call_id" if not part.tool_call_id else ""
        case kind if kind.startswith(_VENDOR) and len(kind) > len(_VENDOR):
            return "text" if part.text is None else ""
        case _:
            return None


def _check_format(form: ResponseFormat, problems: Problems) -> None:
    problems.choice("response_format.type", form.type, _FORMATS)
    problems.text("response_format.name", form.name, 64)
    if form.json_schema is not None:
        _check_json_schema("response_format.json_schema", form.json_schema, problems)
    elif form.type == "json_schema":
        message = "response_format is of type json_schema and lacks json_schema: send a schema as JSON text"
        problems.add("invalid_schema", "response_format.json_schema", message)


def _check_tools(tools: list[Tool], choice: str | None, problems: Problems) -> None:
    if len(tools) > _MAX_TOOLS:
        problems.add("too_many", "tools", f"{len(tools)} tools; at most {_MAX_TOOLS} are allowed: send fewer")
        return
    names: set[str] = set()
    for at, tool in enumerate(tools):
        if not _TOOL_NAME.fullmatch(tool.name):
            message = f"tools[{at}].name is {shown(tool.name)}: use 1 to 64 of a-z A-Z 0-9 _ -"
            problems.add("invalid_tool", f"tools[{at}].name", message)
        elif tool.name in names:
            message = f"two tools are named {tool.name}: give each a name of its own"
            problems.add("invalid_tool", f"tools[{at}].name", message)
        names.add(tool.name)
        _check_json_schema(f"tools[{at}].input_schema", tool.input_schema, problems)
    if choice is None or choice in ("auto", "none") or choice in names or (choice == "required" and tools):
        return
    message = f"tool_choice is {shown(choice)}: use auto, none, required (with tools) or the name of a tool"
    problems.add("invalid_tool", "tool_choice", message)


def _check_json_schema(field: str, text: str, problems: Problems) -> None:
    before = len(problems.found)
    schema: Any = problems.json(field, text)
    if len(problems.found) > before:
        return
    if not isinstance(schema, dict):
        problems.add("invalid_schema", field, f"{field} must be a JSON object that is a JSON Schema")
        return
    draft = schema.get("$schema")
    if draft is not None and (not isinstance(draft, str) or draft.removesuffix("#") not in _DRAFTS):
        # The validator would fetch a draft that it doesn't know.
        message = f"{field}: the draft in $schema is not known: leave $schema out, or name draft 2020-12"
        problems.add("invalid_schema", field, message)
        return
    try:
        jsonschema_rs.meta.validate(schema)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
        why = str(error).partition("\n")[0][:200]
        problems.add("invalid_schema", field, f"{field} is not a valid JSON Schema: {why}")
