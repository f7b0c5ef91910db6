"""Sixteen samples at once: the inner loops of a sub-ray, written out as vector instructions.

numba widens whole numbers to 64 bits and leaves gathers scalar, so that LLVM does not vectorise these loops
by itself: a speckle sample took 12.7 ns so and takes 3.5 ns here. No fast-math reaches these instructions,
so that every caller and every specialisation gets the same bits.

`lay(row, first, last, start, stride)` writes a ramp into a row; `decay(row, first, last, level, fall)` writes
level, level · fall, …; `add_decay` adds that.
`grains(texture, turns, circle, x, y, z, amplitude, weight, re, im, first, last)` adds speckle to re and im:
at places x, y, z in texture voxels (not negative), trilinear, of unit power times amplitude · weight. Each
voxel's number is turned by `turns` (3,) 128ths of a circle for each voxel along each axis, which is the phase
of the way there and back along the beam; circle (256,) : cosines and sines of the 128 angles.
`decibels(power, out)` writes 10·log10(power + 1e-20).
`convert(greys, ways, trusts, cells, along, deep, nearest, samples, first, last, grey, way, trust)` draws
pixels of a row from flat grids: what stands between the four values at cell, cell + 1, cell + samples,
cell + samples + 1, `deep` the share of the second and `along` that of the third, of greys (0-255) rounded
into bytes and of ways at most 1; trusts by its nearest corner. 0 where cell or corner is negative.
`convert_row(…, cells, along, nearest, down, deep, beside, …)` does that where a row has one depth: down (in
samples) is added to its cells, beside to its corners, and deep is a number.
Rows are contiguous float32, cells int32, trusts bytes. Each has a twin in plain Python below, used when
compilation is off, which tests compare it with.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np import arrayobj

from injectplan.kernels._jit import bare_kernel

LANES = 16
_F32, _I32, _I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_FLOATS, _INTS = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)
_WORDS, _BYTES = ir.VectorType(_I64, LANES), ir.VectorType(ir.IntType(8), LANES)
_BITS = ir.VectorType(ir.IntType(1), LANES)


def lay_plain(row: Any, first: int, last: int, start: float, stride: float) -> None:
    """Do what `lay` does."""
    steps = np.arange(max(0, last - first), dtype=np.float32)
    row[first:last] = np.float32(start) + steps * np.float32(stride)


def decay_plain(row: Any, first: int, last: int, level: float, fall: float) -> None:
    """Do what `decay` does."""
    steps = np.arange(max(0, last - first), dtype=np.float32)
    row[first:last] = np.float32(level) * np.float32(fall) ** steps


def add_decay_plain(row: Any, first: int, last: int, level: float, fall: float) -> None:
    """Do what `add_decay` does."""
    steps = np.arange(max(0, last - first), dtype=np.float32)
    row[first:last] += np.float32(level) * np.float32(fall) ** steps


def grains_plain(
    texture: Any, turns: Any, circle: Any, x: Any, y: Any, z: Any, amplitude: Any, weight: Any, re: Any,
    im: Any, first: int, last: int,
) -> None:  # fmt: skip
    """Do what `grains` does, corner after corner."""
    part = slice(first, last)
    places = [np.asarray(row[part], np.float32) for row in (x, y, z)]
    cells = [place.astype(np.int32) for place in places]
    u, v, w = (place - cell for place, cell in zip(places, cells, strict=True))
    total, norm = np.zeros(len(u), np.complex128), np.zeros(len(u))
    for a in range(2):
        for b in range(2):
            for c in range(2):
                i, j, k = cells[0] + a, cells[1] + b, cells[2] + c
                pair = texture[((i & 127) << 14) + ((j & 127) << 7) + (k & 127)]
                number = (pair & 255).astype(np.int8) + 1j * ((pair >> 8) & 255).astype(np.int8)
                angle = (i * turns[0] + j * turns[1] + k * turns[2]) & 127
                share = (u if a else 1 - u) * (v if b else 1 - v) * (w if c else 1 - w)
                total += share * number * (circle[angle] + 1j * circle[128 + angle])
                norm += share * share
    gain = amplitude[part] * weight[part] / np.sqrt(norm)
    re[part] += (gain * total.real).astype(np.float32)
    im[part] += (gain * total.imag).astype(np.float32)


def decibels_plain(power: Any, out: Any) -> None:
    """Do what `decibels` does."""
    out[:] = 10.0 * np.log10(np.asarray(power, np.float64) + 1e-20)


def convert_plain(
    greys: Any, ways: Any, trusts: Any, cells: Any, along: Any, deep: Any, nearest: Any, samples: int,
    first: int, last: int, grey: Any, way: Any, trust: Any,
) -> None:  # fmt: skip
    """Do what `convert` does."""
    part = slice(first, last)
    u, v, i = along[part], deep[part], np.maximum(cells[part], 0)
    outside, corner = cells[part] < 0, nearest[part]

    def between(grid: Any) -> Any:
        near = (1 - v) * grid[i] + v * grid[i + 1]
        far = (1 - v) * grid[i + samples] + v * grid[i + samples + 1]
        return np.where(outside, 0, (1 - u) * near + u * far)

    grey[part] = (between(greys) + np.float32(0.5)).astype(np.uint8)
    way[part] = np.minimum(between(ways), 1)
    trust[part] = (corner >= 0) & (trusts[np.maximum(corner, 0)] != 0)


def convert_row_plain(
    greys: Any, ways: Any, trusts: Any, cells: Any, along: Any, nearest: Any, down: int, deep: float,
    beside: int, samples: int, first: int, last: int, grey: Any, way: Any, trust: Any,
) -> None:  # fmt: skip
    """Do what `convert_row` does."""
    cell, corner = (np.where(row < 0, -1, row + more) for row, more in ((cells, down), (nearest, beside)))
    depth = np.full(len(cells), deep, np.float32)
    convert_plain(greys, ways, trusts, cell, along, depth, corner, samples, first, last, grey, way, trust)


def _splat(value: Any, kind: Any = _FLOATS) -> Any:
    return ir.Constant(kind, [value] * LANES)


def _spread(builder: Any, value: Any, kind: Any = _FLOATS) -> Any:
    """All lanes the same value."""
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), ir.Constant(_INTS, [0] * LANES))


def _data(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    return arrayobj.make_array(kind)(context, builder, array).data


class _Block:
    """Sixteen samples from `at` on, those before `last` alive."""

    def __init__(self, builder: Any, at: Any, last: Any) -> None:
        self.builder, self.at = builder, at
        left = _spread(builder, builder.trunc(builder.sub(last, at), _I32), _INTS)
        self.alive = builder.icmp_signed("<", ir.Constant(_INTS, list(range(LANES))), left)

    def _call(self, name: str, result: Any, *arguments: Any) -> Any:
        kind = ir.FunctionType(result, [a.type for a in arguments])
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, list(arguments))

    def _place(self, data: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(data, [self.at]), _FLOATS.as_pointer())

    def load(self, data: Any) -> Any:
        """Sixteen floats from the block's place on, 0 beyond the end."""
        align = ir.Constant(_I32, 4)
        return self._call(
            "llvm.masked.load.v16f32.p0v16f32", _FLOATS, self._place(data), align, self.alive, _splat(0.0)
        )

    def load_ints(self, data: Any) -> Any:
        """Sixteen whole numbers from the block's place on, 0 beyond the end."""
        place = self.builder.bitcast(self.builder.gep(data, [self.at]), _INTS.as_pointer())
        align = ir.Constant(_I32, 4)
        return self._call(
            "llvm.masked.load.v16i32.p0v16i32", _INTS, place, align, self.alive, _splat(0, _INTS)
        )

    def store(self, data: Any, value: Any) -> None:
        """Write sixteen floats, none beyond the end."""
        align = ir.Constant(_I32, 4)
        self._call(
            "llvm.masked.store.v16f32.p0v16f32", ir.VoidType(), value, self._place(data), align, self.alive
        )

    def store_bytes(self, data: Any, value: Any) -> None:
        """Write sixteen whole numbers as bytes, none beyond the end."""
        bytes_, align = ir.VectorType(ir.IntType(8), LANES), ir.Constant(_I32, 1)
        place = self.builder.bitcast(self.builder.gep(data, [self.at]), bytes_.as_pointer())
        small = self.builder.trunc(value, bytes_)
        self._call("llvm.masked.store.v16i8.p0v16i8", ir.VoidType(), small, place, align, self.alive)

    def muladd(self, a: Any, b: Any, c: Any) -> Any:
        """The sum a · b + c in each lane, rounded once where the machine can."""
        return self._call("llvm.fmuladd.v16f32", _FLOATS, a, b, c)

    def root(self, a: Any) -> Any:
        """Square root in each lane."""
        return self._call("llvm.sqrt.v16f32", _FLOATS, a)

    def cell(self, place: Any) -> tuple[Any, Any]:
        """Whole part and fraction."""
        whole = self.builder.fptosi(place, _INTS)
        return whole, self.builder.fsub(place, self.builder.sitofp(whole, _FLOATS))

    def gather(self, data: Any, index: Any, kind: Any = _INTS) -> Any:
        """data[index] lane by lane: Zen's own gather is no quicker, and older machines have none."""
        b, values = self.builder, ir.Constant(kind, ir.Undefined)
        for lane in range(LANES):
            number = ir.Constant(_I32, lane)
            at = b.zext(b.extract_element(index, number), _I64)
            values = b.insert_element(values, b.load(b.gep(data, [at])), number)
        return values

    def pairs(self, data: Any, index: Any) -> tuple[Any, Any]:
        """data[index] and data[index + 1] of floats, both in one load."""
        b, values = self.builder, ir.Constant(_WORDS, ir.Undefined)
        for lane in range(LANES):
            number = ir.Constant(_I32, lane)
            at = b.zext(b.extract_element(index, number), _I64)
            place = b.bitcast(b.gep(data, [at]), _I64.as_pointer())
            values = b.insert_element(values, b.load(place, align=4), number)
        high = b.lshr(values, ir.Constant(_WORDS, [32] * LANES))
        low, high = (b.bitcast(b.trunc(part, _INTS), _FLOATS) for part in (values, high))
        return low, high

    def between(self, fraction: Any, near: Any, far: Any) -> Any:
        """(1 - f) · near + f · far."""
        return self.muladd(fraction, far, self.builder.fmul(self.builder.fsub(_splat(1.0), fraction), near))

    def byte(self, word: Any, number: int) -> Any:
        """Byte `number` of each word, signed, as float."""
        b, top = self.builder, word
        if number < 3:
            top = b.shl(word, _splat(24 - 8 * number, _INTS))
        return b.sitofp(b.ashr(top, _splat(24, _INTS)), _FLOATS)


def _each_block(builder: Any, first: Any, last: Any) -> Any:
    return cgutils.for_range_slice(builder, first, last, ir.Constant(_I64, LANES), inc=True)


@intrinsic
def _lay(_typing, row, first, last, start, stride):
    i, f = types.int64, types.float32

    def generate(context, builder, signature, arguments):
        data = _data(context, builder, signature.args[0], arguments[0])
        begin, step = _spread(builder, arguments[3]), _spread(builder, arguments[4])
        lanes = ir.Constant(_INTS, list(range(LANES)))
        with _each_block(builder, arguments[1], arguments[2]) as (at, _):
            block = _Block(builder, at, arguments[2])
            offset = _spread(builder, builder.trunc(builder.sub(at, arguments[1]), _I32), _INTS)
            steps = builder.sitofp(builder.add(offset, lanes), _FLOATS)
            block.store(data, block.muladd(steps, step, begin))
        return context.get_dummy_value()

    return types.none(row, i, i, f, f), generate


# 2·10·log10(e)·(1, 1/3, 1/5, 1/7): the series of 10·log10((1 + s)/(1 - s)), good to 1e-7 for |s| < 0.172
_SERIES = [8.685889638065037 / n for n in (1.0, 3.0, 5.0, 7.0)]
_ROOT_HALF, _DB_OF_TWO = 0x3F3504F3, 3.010299956639812


def _decibels_of(block: _Block, power: Any) -> Any:
    """10·log10 of positive floats: the exponent's part, and a series for the rest between √½ and √2."""
    b = block.builder
    bits = b.bitcast(power, _INTS)
    whole = b.and_(b.sub(bits, _splat(_ROOT_HALF, _INTS)), _splat(-(1 << 23), _INTS))
    rest = b.bitcast(b.sub(bits, whole), _FLOATS)
    exponent = b.sitofp(b.ashr(whole, _splat(23, _INTS)), _FLOATS)
    s = b.fdiv(b.fsub(rest, _splat(1.0)), b.fadd(rest, _splat(1.0)))
    square, total = b.fmul(s, s), _splat(_SERIES[3])
    for term in reversed(_SERIES[:3]):
        total = block.muladd(total, square, _splat(term))
    return block.muladd(exponent, _splat(_DB_OF_TWO), b.fmul(s, total))


@intrinsic
def _decibels(_typing, power, out, last):
    i = types.int64

    def generate(context, builder, signature, arguments):
        source, data = (_data(context, builder, signature.args[n], arguments[n]) for n in range(2))
        with _each_block(builder, ir.Constant(_I64, 0), arguments[2]) as (at, _):
            block = _Block(builder, at, arguments[2])
            block.store(data, _decibels_of(block, builder.fadd(block.load(source), _splat(1e-20))))
        return context.get_dummy_value()

    return types.none(power, out, i), generate


def _draw_block(block: _Block, grids: list[Any], rows: list[Any], cell: Any, u: Any, v: Any, corner: Any,
                next_line: Any) -> None:  # fmt: skip
    """Draw sixteen pixels: grids and rows of grey, transmission and trust."""
    b, zero, one = block.builder, _splat(0, _INTS), _splat(1.0)
    outside = b.icmp_signed("<", cell, zero)
    cell = b.select(outside, zero, cell)
    below, values = b.add(cell, next_line), []
    for grid in grids[:2]:
        near = block.between(v, *block.pairs(grid, cell))
        far = block.between(v, *block.pairs(grid, below))
        values.append(b.select(outside, _splat(0.0), block.between(u, near, far)))
    block.store_bytes(rows[0], b.fptosi(b.fadd(values[0], _splat(0.5)), _INTS))
    block.store(rows[1], b.select(b.fcmp_ordered("<", values[1], one), values[1], one))
    outside = b.icmp_signed("<", corner, zero)
    sure = block.gather(grids[2], b.select(outside, zero, corner), _BYTES)
    sure = b.and_(b.not_(outside), b.icmp_signed("!=", sure, _splat(0, _BYTES)))
    block.store_bytes(rows[2], b.zext(sure, _INTS))


@intrinsic
def _convert(
    _typing, greys, ways, trusts, cells, along, deep, nearest, samples, first, last, grey, way, trust
):
    i = types.int64

    def generate(context, builder, signature, arguments):
        data = [
            None if n in (7, 8, 9) else _data(context, builder, signature.args[n], arguments[n])
            for n in range(13)
        ]
        next_line = _spread(builder, builder.trunc(arguments[7], _I32), _INTS)
        with _each_block(builder, arguments[8], arguments[9]) as (at, _):
            block = _Block(builder, at, arguments[9])
            _draw_block(
                block, data[:3], data[10:], block.load_ints(data[3]), block.load(data[4]),
                block.load(data[5]), block.load_ints(data[6]), next_line,
            )  # fmt: skip
        return context.get_dummy_value()

    return types.none(greys, ways, trusts, cells, along, deep, nearest, i, i, i, grey, way, trust), generate


@intrinsic
def _convert_row(
    _typing, greys, ways, trusts, cells, along, nearest, down, deep, beside, samples, first, last, grey, way,
    trust,
):  # fmt: skip
    i, f = types.int64, types.float32

    def generate(context, builder, signature, arguments):
        data = [
            None if n in range(6, 12) else _data(context, builder, signature.args[n], arguments[n])
            for n in range(15)
        ]
        down, beside, next_line = (
            _spread(builder, builder.trunc(arguments[n], _I32), _INTS) for n in (6, 8, 9)
        )
        deep, zero = _spread(builder, arguments[7]), _splat(0, _INTS)

        def moved(row: Any, more: Any) -> Any:
            """Lanes outside stay negative."""
            return builder.select(builder.icmp_signed("<", row, zero), row, builder.add(row, more))

        with _each_block(builder, arguments[10], arguments[11]) as (at, _):
            block = _Block(builder, at, arguments[11])
            cell, corner = block.load_ints(data[3]), block.load_ints(data[5])
            _draw_block(
                block, data[:3], data[12:], moved(cell, down), block.load(data[4]), deep,
                moved(corner, beside), next_line,
            )  # fmt: skip
        return context.get_dummy_value()

    return types.none(
        greys, ways, trusts, cells, along, nearest, i, f, i, i, i, i, grey, way, trust
    ), generate


def _powers(builder: Any, fall: Any) -> tuple[Any, Any]:
    """Fall ** lane, and fall ** LANES of one lane."""
    result, power = _splat(1.0), fall
    for bit in range(4):
        taken = ir.Constant(_BITS, [bool(lane >> bit & 1) for lane in range(LANES)])
        result = builder.fmul(result, builder.select(taken, _spread(builder, power), _splat(1.0)))
        power = builder.fmul(power, power)
    return result, power


def _make_decay(*, adding: bool) -> Any:
    @intrinsic
    def decay(_typing, row, first, last, level, fall):
        i, f = types.int64, types.float32

        def generate(context, builder, signature, arguments):
            data = _data(context, builder, signature.args[0], arguments[0])
            lanes, jump = _powers(builder, arguments[4])
            now = cgutils.alloca_once_value(builder, arguments[3])
            with _each_block(builder, arguments[1], arguments[2]) as (at, _):
                block = _Block(builder, at, arguments[2])
                level_now = builder.load(now)
                values = builder.fmul(_spread(builder, level_now), lanes)
                block.store(data, builder.fadd(values, block.load(data)) if adding else values)
                builder.store(builder.fmul(level_now, jump), now)
            return context.get_dummy_value()

        return types.none(row, i, i, f, f), generate

    return decay


_decay, _add_decay = _make_decay(adding=False), _make_decay(adding=True)


def _corners(block: _Block, texture: Any, cells: Any) -> list[Any]:
    """The four words at (i, j), (i, j + 1), (i + 1, j), (i + 1, j + 1), each of two voxels along k."""
    b, ring, one = block.builder, _splat(127, _INTS), _splat(1, _INTS)
    i, j, k = cells
    rows = [b.shl(b.and_(n, ring), _splat(14, _INTS)) for n in (i, b.add(i, one))]
    columns = [b.shl(b.and_(n, ring), _splat(7, _INTS)) for n in (j, b.add(j, one))]
    k = b.and_(k, ring)
    return [block.gather(texture, b.add(b.add(row, column), k)) for row in rows for column in columns]


def _mix(block: _Block, fraction: Any, turn: Any, near: Any, far: Any) -> Any:
    """(1 - f) · near + f · far, complex, the far one turned by `turn` (cosine, sine)."""
    b = block.builder
    rest = b.fsub(_splat(1.0), fraction)
    cosine, sine = b.fmul(fraction, turn[0]), b.fmul(fraction, turn[1])
    real = block.muladd(cosine, far[0], b.fmul(rest, near[0]))
    imag = block.muladd(cosine, far[1], b.fmul(rest, near[1]))
    return b.fsub(real, b.fmul(sine, far[1])), block.muladd(sine, far[0], imag)


def _interpolate(block: _Block, words: list[Any], fractions: list[Any], turns: list[Any]) -> Any:
    u, v, w = fractions
    numbers = [[block.byte(word, n) for n in range(4)] for word in words]
    along = [_mix(block, w, turns[2], n[:2], n[2:]) for n in numbers]
    sides = [_mix(block, v, turns[1], along[0], along[1]), _mix(block, v, turns[1], along[2], along[3])]
    return _mix(block, u, turns[0], *sides)


def _turned(block: _Block, value: Any, cosine: Any, sine: Any) -> Any:
    b = block.builder
    real = b.fsub(b.fmul(value[0], cosine), b.fmul(value[1], sine))
    return real, block.muladd(value[0], sine, b.fmul(value[1], cosine))


def _angle_of(block: _Block, circle: Any, cells: Any, turns: Any) -> Any:
    """(cosine, sine) of the phase of a voxel."""
    b = block.builder
    total = _splat(0, _INTS)
    for cell, turn in zip(cells, turns, strict=True):
        total = b.add(total, b.mul(cell, turn))
    angle = b.and_(total, _splat(127, _INTS))
    sine = b.add(angle, _splat(128, _INTS))
    return block.gather(circle, angle, _FLOATS), block.gather(circle, sine, _FLOATS)


def _spread_of(block: _Block, fraction: Any) -> Any:
    """f² + (1 - f)²: what the squares of two linear weights add up to."""
    b, other = block.builder, block.builder.fsub(_splat(1.0), fraction)
    return block.muladd(fraction, fraction, b.fmul(other, other))


def _steps(builder: Any, data: Any) -> tuple[list[Any], list[Any]]:
    """Turns of one voxel along each axis: as numbers, and as (cosine, sine), the same in all lanes."""
    numbers, turns = [], []
    for axis in range(3):
        number = builder.load(builder.gep(data[1], [ir.Constant(_I64, axis)]))
        at = builder.zext(builder.and_(number, ir.Constant(_I32, 127)), _I64)
        sine = builder.add(at, ir.Constant(_I64, 128))
        turns.append([_spread(builder, builder.load(builder.gep(data[2], [n]))) for n in (at, sine)])
        numbers.append(_spread(builder, number, _INTS))
    return numbers, turns


@intrinsic
def _grains(_typing, texture, turns, circle, x, y, z, amplitude, weight, re, im, first, last):
    i = types.int64

    def generate(context, builder, signature, arguments):
        data = [_data(context, builder, signature.args[n], arguments[n]) for n in range(10)]
        numbers, steps = _steps(builder, data)
        with _each_block(builder, arguments[10], arguments[11]) as (at, _):
            block = _Block(builder, at, arguments[11])
            parts = [block.cell(block.load(row)) for row in data[3:6]]
            cells, fractions = [part[0] for part in parts], [part[1] for part in parts]
            spreads = [_spread_of(block, f) for f in fractions]
            norm = builder.fmul(builder.fmul(spreads[0], spreads[1]), spreads[2])
            gain = builder.fmul(block.load(data[6]), block.load(data[7]))
            gain = builder.fdiv(gain, block.root(norm))
            value = _interpolate(block, _corners(block, data[0], cells), fractions, steps)
            value = _turned(block, value, *_angle_of(block, data[2], cells, numbers))
            for row, component in zip(data[8:10], value, strict=True):
                block.store(row, block.muladd(gain, component, block.load(row)))
        return context.get_dummy_value()

    return types.none(texture, turns, circle, x, y, z, amplitude, weight, re, im, i, i), generate


if numba.config.DISABLE_JIT:
    lay, decay, add_decay, grains = lay_plain, decay_plain, add_decay_plain, grains_plain
    decibels, convert, convert_row = decibels_plain, convert_plain, convert_row_plain
else:

    @bare_kernel
    def lay(row, first, last, start, stride):
        """Write start, start + stride, … into row[first:last]."""
        _lay(row, first, last, np.float32(start), np.float32(stride))

    @bare_kernel
    def decay(row, first, last, level, fall):
        """Write level, level · fall, … into row[first:last]."""
        _decay(row, first, last, np.float32(level), np.float32(fall))

    @bare_kernel
    def add_decay(row, first, last, level, fall):
        """Add level, level · fall, … to row[first:last]."""
        _add_decay(row, first, last, np.float32(level), np.float32(fall))

    @bare_kernel
    def grains(texture, turns, circle, x, y, z, amplitude, weight, re, im, first, last):
        """Add speckle of unit power times amplitude · weight to re[first:last] and im[first:last]."""
        _grains(texture, turns, circle, x, y, z, amplitude, weight, re, im, first, last)

    @bare_kernel
    def decibels(power, out):
        """Write 10·log10 of a row of powers, at least -200."""
        _decibels(power, out, np.int64(out.shape[0]))

    @bare_kernel
    def convert(greys, ways, trusts, cells, along, deep, nearest, samples, first, last, grey, way, trust):
        """Draw pixels [first, last) of a row from grids of greys, transmission and trust."""
        _convert(
            greys, ways, trusts, cells, along, deep, nearest, np.int64(samples), np.int64(first),
            np.int64(last), grey, way, trust,
        )  # fmt: skip

    @bare_kernel
    def convert_row(
        greys, ways, trusts, cells, along, nearest, down, deep, beside, samples, first, last, grey, way, trust
    ):
        """Draw pixels [first, last) of a row that lies at one depth."""
        _convert_row(
            greys, ways, trusts, cells, along, nearest, np.int64(down), np.float32(deep), np.int64(beside),
            np.int64(samples), np.int64(first), np.int64(last), grey, way, trust,
        )  # fmt: skip
