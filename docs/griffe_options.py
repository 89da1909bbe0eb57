"""An extension of griffe: the default of a field is the first argument of `option(...)`."""

import ast
from typing import Any

from griffe import Attribute, ExprCall, Extension, ObjectNode


class Options(Extension):
    """Shows `seed: int = option(0, Limit(at_least=0))` as `seed: int = 0` in the API reference."""

    def on_attribute_instance(
        self, *, node: ast.AST | ObjectNode, attr: Attribute, **kwargs: Any
    ) -> None:
        """Replace the value of a field that `pipelines.study.options.option` makes."""
        value = attr.value
        if isinstance(value, ExprCall) and str(value.function) == "option":
            attr.value = value.arguments[0]
