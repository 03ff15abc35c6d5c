"""Executes the C of a CuPy kernel's formula with NumPy, so that the formula itself is tested.

What CUDA C means and NumPy does not is kept: ``min`` and ``max`` drop a NaN, ``1.0`` is a double
and makes its sum a double, an assignment casts to the type of its target, inputs are ``const``.
Statements are run on whole arrays, which is the same as element by element because a statement
sees no neighbour.
"""

import re

import numpy as np

TOKEN = re.compile(
    r"\s*(\d+\.?\d*(?:[eE][-+]?\d+)?f?|[A-Za-z_]\w*|&&|\|\||[-+*/<>=!]=|[-+*/<>!?:=(),;])"
)

FUNCTIONS = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "tanh": np.tanh,
    "fabs": np.abs,
    "abs": np.abs,
    "isnan": np.isnan,
    "min": np.fmin,
    "max": np.fmax,
}

TYPES = {"double": np.float64, "float": np.float32, "int": np.int32, "bool": np.bool_}

BINARY = [  # loosest first
    {"||": np.logical_or},
    {"&&": np.logical_and},
    {"==": np.equal, "!=": np.not_equal},
    {"<": np.less, ">": np.greater, "<=": np.less_equal, ">=": np.greater_equal},
    {"+": np.add, "-": np.subtract},
    {"*": np.multiply, "/": np.divide},
]


class CError(Exception):
    """What the CUDA compiler would refuse, or what this small interpreter does not know."""


def evaluate(text, names, types=None):
    """Return the value of an expression.

    Parameters
    ----------
    text : str
        One C expression.
    names : dict
        Values of the variables: NumPy arrays or NumPy scalars.
    types : dict, optional
        What type names such as ``T`` stand for.
    """
    parser = _Parser(text, names, types or {})
    with np.errstate(all="ignore"):  # a device gives no warnings
        value = parser.expression()
    parser.expect_end()
    return value


def execute(text, inputs, outputs, types=None):
    """Run the statements of a kernel, which write into the arrays of ``outputs``."""
    types = types or {}
    local: dict = {}
    for statement in filter(None, (part.strip() for part in text.split(";"))):
        match = re.fullmatch(
            r"(?:(?:const\s+)?(?P<type>[A-Za-z_]\w*)\s+)?(?P<name>[A-Za-z_]\w*)\s*"
            r"(?P<op>[-+*/]?)=(?!=)\s*(?P<value>.*)",
            statement,
            re.DOTALL,
        )
        if match is None:
            raise CError(f"no assignment: {statement!r}")
        name, operator, value = match["name"], match["op"], match["value"]
        if operator:
            value = f"{name} {operator} ({value})"
        result = evaluate(value, {**inputs, **outputs, **local}, types)
        if match["type"]:
            local[name] = _cast(result, _type(match["type"], types))
        elif name in outputs:
            outputs[name][...] = _cast(result, outputs[name].dtype)
        else:
            raise CError(f"{name!r} is not an output: {statement!r}")


class _Parser:
    """Recursive descent over the tokens; evaluates while it reads."""

    def __init__(self, text, names, types):
        self.text, self.names, self.types = text, names, types
        self.tokens, at = [], 0
        text = text.rstrip()
        while at < len(text):
            match = TOKEN.match(text, at)
            if match is None:
                raise CError(f"cannot read {text[at:]!r}")
            self.tokens.append(match[1])
            at = match.end()
        self.at = 0

    def peek(self, offset=0):
        at = self.at + offset
        return self.tokens[at] if at < len(self.tokens) else None

    def take(self, expected=None):
        token = self.peek()
        if token is None or (expected is not None and token != expected):
            raise CError(f"expected {expected or 'more'}, found {token!r}: {self.text!r}")
        self.at += 1
        return token

    def expect_end(self):
        if self.peek() is not None:
            raise CError(f"{self.peek()!r} is left over: {self.text!r}")

    def expression(self):
        condition = self.binary(0)
        if self.peek() != "?":
            return condition
        self.take("?")
        yes = self.expression()
        self.take(":")
        yes, no = _promote(yes, self.expression())
        return np.where(condition, yes, no)

    def binary(self, level):
        if level == len(BINARY):
            return self.unary()
        left = self.binary(level + 1)
        while self.peek() in BINARY[level]:
            operator = self.take()
            left, right = _promote(left, self.binary(level + 1))
            if operator == "/" and np.result_type(left, right).kind in "iu":
                raise CError(f"a division of integers rounds down in C: {self.text!r}")
            left = BINARY[level][operator](left, right)
        return left

    def unary(self):
        if self.peek() in ("-", "!"):
            sign = self.take()
            return np.negative(self.unary()) if sign == "-" else np.logical_not(self.unary())
        if self.peek() == "(" and self.peek(2) == ")" and self.is_type(self.peek(1)):
            self.take("(")
            dtype = _type(self.take(), self.types)
            self.take(")")
            return _cast(self.unary(), dtype)
        return self.primary()

    def primary(self):
        token = self.take()
        if token == "(":
            value = self.expression()
            self.take(")")
            return value
        if token[0].isdigit():
            if token.endswith("f"):
                return np.float32(token[:-1])
            return int(token) if token.isdigit() else np.float64(token)
        if self.peek() == "(":
            return self.call(token)
        if token in self.names:
            return self.names[token]
        raise CError(f"{token!r} is not declared: {self.text!r}")

    def call(self, name):
        if name not in FUNCTIONS:
            raise CError(f"function {name!r} is unknown: {self.text!r}")
        self.take("(")
        arguments = [self.expression()]
        while self.peek() == ",":
            self.take(",")
            arguments.append(self.expression())
        self.take(")")
        if len(arguments) != FUNCTIONS[name].nin:
            raise CError(f"{name} takes {FUNCTIONS[name].nin} arguments: {self.text!r}")
        return FUNCTIONS[name](*(_promote(*arguments) if len(arguments) == 2 else arguments))

    def is_type(self, token):
        return token in TYPES or token in self.types


def _type(name, types):
    if name in types:
        return np.dtype(types[name])
    if name in TYPES:
        return np.dtype(TYPES[name])
    raise CError(f"type {name!r} is unknown")


def _cast(value, dtype):
    with np.errstate(all="ignore"):
        return np.asarray(value).astype(dtype)


def _promote(left, right):
    """Give both sides of an operator C's common type; an int literal takes the other's."""
    if isinstance(left, int) or isinstance(right, int):
        return left, right
    dtype = np.promote_types(left.dtype, right.dtype)
    return left.astype(dtype), right.astype(dtype)
