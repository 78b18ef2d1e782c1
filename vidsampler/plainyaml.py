"""YAML without its surprises: plain data only, no key twice, the scalars of YAML 1.2.

PyYAML follows YAML 1.1, where `1e-4` is text, `no` is false, `1:30` is 90 and `010` is 8. In a
configuration each of these is a wrong value that nobody notices; here `1e-4` is a number, `no` and
`1:30` are text and `010` is 10.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import yaml

_SCALARS = (
    ("null", r"~|null|Null|NULL|", ("~", "n", "N", "")),
    ("bool", r"true|True|TRUE|false|False|FALSE", tuple("tTfF")),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+", tuple("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        tuple("-+.0123456789"),
    ),
    ("merge", r"<<", ("<",)),
)


def load(text: str) -> Any:
    """Reads one YAML document.

    Raises:
        ValueError: It is not YAML, has a key twice, or asks for more than plain data; the message
            has the line.
    """
    import yaml

    try:
        return yaml.load(text, Loader=_loader())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{where}{error.problem or error.context}") from error
    except yaml.YAMLError as error:
        # Characters that YAML forbids come without a mark, and in two lines.
        raise ValueError(str(error).partition("\n")[0]) from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def dump(data: Any) -> str:
    """Writes plain data so that `load` gives the same back; keys keep their order."""
    import yaml

    text: str = yaml.dump(
        data, Dumper=_dumper(), sort_keys=False, allow_unicode=True, default_flow_style=False
    )
    return text


@cache
def _loader() -> type[yaml.SafeLoader]:
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own class attribute

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
                if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                    if key.value in seen:
                        raise yaml.constructor.ConstructorError(
                            None, None, f"key {key.value!r} stands there twice", key.start_mark
                        )
                    seen.add(key.value)
            return super().construct_mapping(node, deep=deep)

        def construct_whole_number(self, node: yaml.ScalarNode) -> int:
            text = str(node.value)
            base = {"0x": 16, "0o": 8}.get(text[:2], 10)
            return int(text[2:] if base != 10 else text, base)

    for tag, pattern, first in _SCALARS:
        Loader.add_implicit_resolver(
            f"tag:yaml.org,2002:{tag}", re.compile(rf"(?:{pattern})\Z"), list(first)
        )
    Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_whole_number)
    return Loader


@cache
def _dumper() -> type[yaml.SafeDumper]:
    import yaml

    class Dumper(yaml.SafeDumper):
        # The loader's rules decide which strings need quotes.
        yaml_implicit_resolvers = _loader().yaml_implicit_resolvers

        def ignore_aliases(self, data: Any) -> bool:
            return True

    return Dumper
