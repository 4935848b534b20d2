"""Tool descriptions: from xLAM's form (Python's types, flat parameters), MCP's (`inputSchema`) and Anthropic's
(`input_schema`) to OpenAI's (`parameters`), whose JSON schema chat templates take. Standard library only. Not here: the
calls, schemas that describe more than a parameter's type.
"""

from __future__ import annotations

import json
import re

TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "dict": "object"}
TYPES |= {name: "array" for name in ("list", "tuple", "set")}
TYPES |= {name: name for name in ("string", "integer", "number", "boolean", "object", "array", "null")}
KEPT = ("description", "enum", "items", "properties", "default")


def read_tools(tools: str | list) -> list[dict]:
    """Tools in OpenAI's form, whatever form they have. Raises ValueError."""
    try:
        return [_openai(tool) for tool in (json.loads(tools) if isinstance(tools, str) else tools)]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"`tools` must be a list of tools with name and parameters, or its JSON: {error!r}.") from None


def _openai(tool: dict) -> dict:
    if "function" in tool:
        if not isinstance(tool["function"]["name"], str) or not isinstance(_properties(tool), dict):
            raise TypeError("a name must be a string, properties an object")
        return tool
    parameters = tool.get("parameters") or {}
    if given := tool.get("inputSchema") or tool.get("input_schema"):
        parameters = {"type": "object", **given}
    # xLAM's flat form, where "type" could only be a parameter's name
    if not isinstance(parameters.get("type"), (str, list)):
        properties = {name: _property(about) for name, about in parameters.items()}
        required = [name for name, about in parameters.items() if _required(about)]
        parameters = {"type": "object", "properties": properties, "required": required}
    function = {"name": tool["name"], "description": tool.get("description", ""), "parameters": parameters}
    return _openai({"type": "function", "function": function})


def _required(about: dict) -> bool:
    if isinstance(about.get("required"), bool):  # as on the data set's card
        return about["required"]
    return "default" not in about and "optional" not in str(about.get("type")).lower()


def _property(about: dict) -> dict:
    return schema(about.get("type", "")) | {key: about[key] for key in KEPT if key in about}


def schema(kind: str | list) -> dict:
    """JSON schema of a type in Python's words: "List[int]", "str, optional", or of a list of such types, any of which
    may be meant. Without "type" where the words fit none."""
    if isinstance(kind, list):
        parts = list(map(schema, kind))
        merged = {key: value for part in parts for key, value in part.items()}
        return merged | {"type": [part["type"] for part in parts]} if parts and all(parts) else {}
    if not isinstance(kind, str):
        return {}
    head, bracket, inner = re.sub(r",\s*optional$", "", kind.strip(), flags=re.IGNORECASE).partition("[")
    head, inner = head.strip().lower(), inner.strip().removesuffix("]")
    if head == "optional" and bracket:
        return schema(inner)
    if head not in TYPES:
        return {}
    items = schema(inner) if head in ("list", "set") and bracket else {}
    return {"type": TYPES[head], **({"items": items} if items else {})}


def _properties(tool: dict) -> dict:
    return (tool["function"].get("parameters") or {}).get("properties", {})


def parameter_names(tools: str | list) -> dict[str, set[str]]:
    """Tool name -> the names of its parameters. Raises ValueError."""
    return {tool["function"]["name"]: set(_properties(tool)) for tool in read_tools(tools)}
