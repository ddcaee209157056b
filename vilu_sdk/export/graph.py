"""An ONNX graph that is built operation by operation; it knows no scorer."""

import json
from typing import Any

import numpy as np
from torch import Tensor

# Old enough for any runtime in use, and what it needs of the file's format.
OPSET, FORMAT = 17, 8
#: What goes in, and of what comes out the column of candidates.
IMAGES, PREDICTION = "z_img", "prediction"


class Graph:
    """An ONNX graph that grows by one operation a call."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def __call__(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """Add an operation, and return the name of its result."""
        name = f"{operation}_{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(operation, inputs, [name], **attributes))
        return name

    def constant(self, values: Any) -> str:
        """Return the name of an array."""
        array = np.asarray(values.numpy() if isinstance(values, Tensor) else values, order="C")
        array = array.astype(np.float64) if array.dtype.kind == "f" else array
        name = f"constant_{len(self._constants)}"
        self._constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def double(self, x: str) -> str:
        """Return it in float64, in which everything is computed: the package rounds at other places."""
        return self("Cast", x, to=self._onnx.TensorProto.DOUBLE)

    def column(self, x: str) -> str:
        """Return values (n,) as a column (n, 1)."""
        return self("Unsqueeze", x, self.constant(np.array([1])))

    def flat(self, x: str) -> str:
        """Return a column (n, 1) as values (n,)."""
        return self("Squeeze", x, self.constant(np.array([1])))

    def row_sum(self, x: str) -> str:
        """Sum each row (n, K) to (n,)."""
        return self("ReduceSum", x, self.constant(np.array([1])), keepdims=0)

    def product(self, x: str, matrix: Tensor, offsets: Tensor | None = None) -> str:
        """Multiply rows (n, d) by a matrix (d, K), and add offsets (K,)."""
        found = self("MatMul", x, self.constant(matrix))
        return found if offsets is None else self("Add", found, self.constant(offsets))

    def largest(self, x: str) -> str:
        """Return the first column (n,) of the largest value of each row."""
        return self("ArgMax", x, axis=1, keepdims=0, select_last_index=0)

    def log_sum(self, x: str) -> str:
        """Logarithm (n,) of the sum of the exponentials of each row."""
        most = self("ReduceMax", x, axes=[1], keepdims=1)
        # Of differences float32 is exact enough, and its exponentials are many times as fast.
        near = self("Cast", self("Sub", x, most), to=self._onnx.TensorProto.FLOAT)
        total = self.double(self.row_sum(self("Exp", near)))
        return self("Add", self("Log", total), self.flat(most))

    def log_odds(self, logits: str, column: str) -> str:
        """Log-odds (n,) that a column (n,) of logits (n, K) is wrong, exact at any lead."""
        at = self.column(column)
        value = self("GatherElements", logits, at, axis=1)
        nothing = self("Sub", value, self.constant(np.inf))
        rest = self("ScatterElements", logits, at, nothing, axis=1)
        return self("Sub", self.log_sum(rest), self.flat(value))

    def probability(self, log_odds: str) -> str:
        """Undo log-odds (n,); runtimes let their own sigmoid end at 0."""
        return self("Reciprocal", self("Add", self("Exp", self("Neg", log_odds)), self.constant(1.0)))

    def written(self, d: int, outputs: dict[str, str], metadata: dict[str, Any]) -> bytes:
        """Return the file: rows of width d in, and the outputs by name."""
        helper, kinds = self._onnx.helper, self._onnx.TensorProto
        types = {PREDICTION: kinds.INT64, "answer": kinds.INT64, "accepted": kinds.BOOL}
        nodes = [*self._nodes]
        nodes += [helper.make_node("Identity", [inside], [name]) for name, inside in outputs.items()]
        graph = helper.make_graph(
            nodes,
            "vilu_sdk",
            [helper.make_tensor_value_info(IMAGES, kinds.FLOAT, ["rows", d])],
            [
                helper.make_tensor_value_info(name, types.get(name, kinds.DOUBLE), ["rows"])
                for name in outputs
            ],
            self._constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=FORMAT, producer_name="vilu-sdk"
        )
        helper.set_model_props(
            model, {name: json.dumps(value, allow_nan=False) for name, value in metadata.items()}
        )
        self._onnx.checker.check_model(model, full_check=True)
        written: bytes = model.SerializeToString()
        return written
