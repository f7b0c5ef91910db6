"""Eight boxes at once: vector instructions written out, because numba leaves LLVM's straight-line vectoriser
off and unrolls a loop of eight before the other one sees it.

`ray_boxes(box, node, px, py, pz, ix, iy, iz, nx, ny, nz, far, entry)` writes the distance at which a ray
enters each child's box and returns the children met as bits. nx, ny, nz: rows of the planes met first, 0 or
3, 1 or 4, 2 or 5.
`point_boxes(box, node, px, py, pz, limit, entry)` writes squared distances and returns the children within
`limit` as bits.
`lowest(bits)` is the number of the lowest bit set.
`fetch(array, element)` asks the memory for 256 bytes from that element on, which will be needed soon;
`fetch_two` for 128.
Each has a twin in plain Python below, used when compilation is off, which tests compare it with.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np import arrayobj

WIDTH = 8
_F32X8 = ir.VectorType(ir.FloatType(), WIDTH)
_F64X8 = ir.VectorType(ir.DoubleType(), WIDTH)
_I32 = ir.IntType(32)


def ray_boxes_plain(
    box: Any, node: int, px: float, py: float, pz: float, ix: float, iy: float, iz: float,
    nx: int, ny: int, nz: int, far: float, entry: Any,
) -> int:  # fmt: skip
    """Do what `ray_boxes` does, one child after the other."""
    bits = 0
    for c in range(WIDTH):
        near, away = 0.0, far
        for p, i, row, sides in ((px, ix, nx, 3), (py, iy, ny, 5), (pz, iz, nz, 7)):
            near = max(near, (float(box[node, row, c]) - p) * i)
            away = min(away, (float(box[node, sides - row, c]) - p) * i)
        entry[c] = near
        bits |= (near <= away) << c
    return bits


def point_boxes_plain(box: Any, node: int, px: float, py: float, pz: float, limit: float, entry: Any) -> int:
    """Do what `point_boxes` does, one child after the other."""
    bits = 0
    for c in range(WIDTH):
        total = 0.0
        for axis, p in enumerate((px, py, pz)):
            total += max(float(box[node, axis, c]) - p, p - float(box[node, 3 + axis, c]), 0.0) ** 2
        entry[c] = total
        bits |= (total <= limit) << c
    return bits


def lowest_plain(bits: int) -> int:
    """Return the number of the lowest bit set."""
    return (int(bits) & -int(bits)).bit_length() - 1


def fetch_plain(array: Any, element: int) -> None:
    """Do nothing: only speed depends on it."""


class _Lanes:
    """Builds vector code over the rows of one node."""

    def __init__(self, context: Any, builder: Any, box_type: Any, box: Any, node: Any) -> None:
        self.builder = builder
        data = arrayobj.make_array(box_type)(context, builder, box).data
        offset = builder.mul(node, ir.Constant(node.type, 6 * WIDTH))
        self.rows = builder.gep(data, [offset])

    def splat(self, value: Any) -> Any:
        """One number in all eight lanes."""
        one = self.builder.insert_element(ir.Constant(_F64X8, ir.Undefined), value, ir.Constant(_I32, 0))
        zeros = ir.Constant(ir.VectorType(_I32, WIDTH), [0] * WIDTH)
        return self.builder.shuffle_vector(one, ir.Constant(_F64X8, ir.Undefined), zeros)

    def row(self, number: Any) -> Any:
        """A row of the node, eight floats as doubles."""
        start = self.builder.gep(self.rows, [self.builder.mul(number, ir.Constant(number.type, WIDTH))])
        vector = self.builder.load(self.builder.bitcast(start, _F32X8.as_pointer()), align=4)
        return self.builder.fpext(vector, _F64X8)

    def larger(self, a: Any, b: Any) -> Any:
        """The larger of two in each lane; of NaN, b."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def smaller(self, a: Any, b: Any) -> Any:
        """The smaller of two in each lane; of NaN, b."""
        return self.builder.select(self.builder.fcmp_ordered("<", a, b), a, b)

    def finish(self, context: Any, entry_type: Any, entry: Any, values: Any, met: Any) -> Any:
        """Write the lanes' values, and return the lanes that were met as bits."""
        data = arrayobj.make_array(entry_type)(context, self.builder, entry).data
        self.builder.store(values, self.builder.bitcast(data, _F64X8.as_pointer()), align=8)
        bits = self.builder.bitcast(met, ir.IntType(WIDTH))
        return self.builder.zext(bits, ir.IntType(64))


@intrinsic
def _ray_boxes(_typing, box, node, px, py, pz, ix, iy, iz, nx, ny, nz, far, entry):
    f, i = types.float64, types.int64
    signature = types.int64(box, i, f, f, f, f, f, f, i, i, i, f, entry)

    def generate(context, builder, _signature, arguments):
        box_value, node_value, *origin_inverse = arguments[:8]
        rows, far_value, entry_value = arguments[8:11], arguments[11], arguments[12]
        lanes = _Lanes(context, builder, box, box_value, node_value)
        near, away = lanes.splat(ir.Constant(ir.DoubleType(), 0.0)), lanes.splat(far_value)
        for axis in range(3):
            p, inverse = lanes.splat(origin_inverse[axis]), lanes.splat(origin_inverse[3 + axis])
            other = builder.sub(ir.Constant(rows[axis].type, 3 + 2 * axis), rows[axis])
            enters = builder.fmul(builder.fsub(lanes.row(rows[axis]), p), inverse)
            leaves = builder.fmul(builder.fsub(lanes.row(other), p), inverse)
            near, away = lanes.larger(enters, near), lanes.smaller(leaves, away)
        met = builder.fcmp_ordered("<=", near, away)
        return lanes.finish(context, entry, entry_value, near, met)

    return signature, generate


@intrinsic
def _point_boxes(_typing, box, node, px, py, pz, limit, entry):
    f = types.float64
    signature = types.int64(box, types.int64, f, f, f, f, entry)

    def generate(context, builder, _signature, arguments):
        lanes = _Lanes(context, builder, box, arguments[0], arguments[1])
        total = zero = lanes.splat(ir.Constant(ir.DoubleType(), 0.0))
        for axis in range(3):
            p = lanes.splat(arguments[2 + axis])
            below = builder.fsub(lanes.row(ir.Constant(ir.IntType(64), axis)), p)
            above = builder.fsub(p, lanes.row(ir.Constant(ir.IntType(64), 3 + axis)))
            d = lanes.larger(lanes.larger(below, above), zero)
            total = builder.fadd(total, builder.fmul(d, d))
        met = builder.fcmp_ordered("<=", total, lanes.splat(arguments[5]))
        return lanes.finish(context, entry, arguments[6], total, met)

    return signature, generate


@intrinsic
def _lowest(_typing, bits):
    def generate(_context, builder, _signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


def _make_fetch(lines: int) -> Any:
    @intrinsic
    def fetching(_typing, array, element):
        def generate(context, builder, signature, arguments):
            data = arrayobj.make_array(signature.args[0])(context, builder, arguments[0]).data
            byte = ir.IntType(8).as_pointer()
            start = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
            kind = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
            prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
            for line in range(lines):
                address = builder.gep(start, [ir.Constant(ir.IntType(64), 64 * line)])
                builder.call(prefetch, [address, *(ir.Constant(_I32, k) for k in (0, 3, 1))])
            return context.get_dummy_value()

        return types.none(array, types.int64), generate

    return fetching


_fetch, _fetch_two = _make_fetch(4), _make_fetch(2)


if numba.config.DISABLE_JIT:
    ray_boxes, point_boxes, lowest = ray_boxes_plain, point_boxes_plain, lowest_plain
    fetch = fetch_two = fetch_plain
else:
    ray_boxes, point_boxes, lowest = _ray_boxes, _point_boxes, _lowest
    fetch, fetch_two = _fetch, _fetch_two
