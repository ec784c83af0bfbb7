// Values of inputs: as JSON, as bytes, and back.

const ARRAYS = {
  BOOL: Uint8Array, UINT8: Uint8Array, UINT16: Uint16Array, UINT32: Uint32Array, UINT64: BigUint64Array,
  INT8: Int8Array, INT16: Int16Array, INT32: Int32Array, INT64: BigInt64Array, FP32: Float32Array, FP64: Float64Array,
};
const bytesOf = (datatype) => ARRAYS[datatype].BYTES_PER_ELEMENT;
export const size = (shape) => shape.reduce((a, b) => a * b, 1);

/** The shape of the shortest request that the model takes, for each of its inputs. */
export function shapesOf({ inputs, shortest }) {
  return inputs.map(({ shape }, i) => shortest?.[i] ?? (shape ?? [1]).map((n) => (n < 0 ? 1 : n)));
}

/** A number from -1 to 1 as a value of the datatype; integers become small, as an index of any table is. */
function cast(value, datatype) {
  if (datatype === "BOOL") return value > 0;
  return datatype.startsWith("FP") ? value : Math.floor(Math.abs(value) * 4);
}

/** A request as JSON. value: gives the next one, from -1 to 1. */
export function request(model, value) {
  const shapes = shapesOf(model);
  const inputs = model.inputs.map(({ name, datatype }, i) => {
    const data = Array.from({ length: size(shapes[i]) }, () => cast(Number(value().toFixed(4)), datatype));
    return JSON.stringify({ name, datatype, shape: shapes[i], data }).replaceAll(",", ", ");
  });
  return `{"inputs": [\n  ${inputs.join(",\n  ")}\n]}`;
}

/** A frame as bytes, little-endian as every browser is. value: gives the one with an index within its input. */
export function frame(model, value) {
  const parts = shapesOf(model).map((shape, i) => {
    const { datatype } = model.inputs[i];
    const values = Array.from({ length: size(shape) }, (_, j) => cast(value(j, size(shape)), datatype));
    return datatype.endsWith("64") && datatype !== "FP64" ? ARRAYS[datatype].from(values, BigInt) : ARRAYS[datatype].from(values);
  });
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let offset = 0;
  for (const part of parts) {
    bytes.set(new Uint8Array(part.buffer), offset);
    offset += part.byteLength;
  }
  return bytes;
}

/** The first values of an output of an answer; null where the outputs cannot be told apart. */
export function valuesOf(buffer, outputs, wanted, most) {
  let offset = 0;
  const sizes = outputs.map(({ shape, datatype }) => size((shape ?? [-1]).map((n) => (n < 0 ? 1 : n))) * bytesOf(datatype));
  if (outputs.length === 1) sizes[0] = buffer.byteLength;
  else if (sizes.reduce((a, b) => a + b, 0) !== buffer.byteLength) return null;
  for (let i = 0; outputs[i].name !== wanted; i += 1) offset += sizes[i];
  const { datatype } = outputs.find(({ name }) => name === wanted);
  const all = new ARRAYS[datatype](buffer.slice(offset, offset + sizes[outputs.findIndex(({ name }) => name === wanted)]));
  return { values: Array.from(all.slice(0, most), Number), count: all.length };
}
