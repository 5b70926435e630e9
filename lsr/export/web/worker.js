// Runs the model. Messages to it: the settings of model.json once, then pictures; from it: see post.
import * as ort from "./onnxruntime/ort.wasm.bundle.min.mjs";

const wasm = "./onnxruntime/ort-wasm-simd-threaded.wasm";
ort.env.wasm.wasmPaths = { wasm: new URL(wasm, import.meta.url).href };
// Threads need shared memory, which servers allow by two headers; see docs/upscaling.md.
ort.env.wasm.numThreads = self.crossOriginIsolated ? navigator.hardwareConcurrency : 1;
ort.env.logLevel = "error";

const TRIAL = 64;
let settings;
let session;

// Normal numbers of a fixed seed, by Box and Muller from the generator mulberry32.
function normal(count) {
  const values = new Float32Array(count);
  let state = 1;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
  };
  for (let i = 0; i < count; i++) {
    values[i] = Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  }
  return values;
}

// Takes and returns the bytes of a canvas: red, green, blue and opacity of each pixel.
async function enlarge(bytes, width, height) {
  const { scale, lr_multiple: multiple, margin, channels } = settings;
  const pixels = width * height;
  const lr = new Float32Array(3 * pixels);
  for (let i = 0; i < pixels; i++) {
    for (let c = 0; c < 3; c++) lr[c * pixels + i] = bytes[4 * i + c] / 255;
  }
  const grid = [height, width].map((side) => Math.ceil((side + 2 * margin) / multiple));
  const noise = normal(channels * grid[0] * grid[1]);
  const { sr } = await session.run({
    lr: new ort.Tensor("float32", lr, [1, 3, height, width]),
    noise: new ort.Tensor("float32", noise, [1, channels, ...grid]),
  });
  const large = pixels * scale * scale;
  const result = new Uint8ClampedArray(4 * large).fill(255);
  for (let i = 0; i < large; i++) {
    for (let c = 0; c < 3; c++) result[4 * i + c] = sr.data[c * large + i] * 255;
  }
  sr.dispose();
  return result;
}

// Linear attention: the time grows in proportion to the pixels, so a small picture tells it.
async function prepare(given) {
  settings = given;
  session = await ort.InferenceSession.create("model.onnx");
  const trial = new Uint8ClampedArray(4 * TRIAL * TRIAL);
  await enlarge(trial, TRIAL, TRIAL);
  const start = performance.now();
  await enlarge(trial, TRIAL, TRIAL);
  return { secondsPerPixel: (performance.now() - start) / 1000 / (TRIAL * TRIAL) };
}

self.onmessage = async ({ data }) => {
  try {
    if (data.settings) {
      self.postMessage(await prepare(data.settings));
    } else {
      const bytes = await enlarge(data.bytes, data.width, data.height);
      self.postMessage({ bytes }, [bytes.buffer]);
    }
  } catch (error) {
    self.postMessage({ error: String(error) });
  }
};
