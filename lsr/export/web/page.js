// The page: takes a photograph, gives it to worker.js, shows what comes back.
"use strict";

const element = (id) => document.getElementById(id);
const input = element("file");
let settings;
let worker;
let secondsPerPixel;
let finish; // ends the wait for the worker: called with its message

function say(text, state) {
  element("status").textContent = text;
  document.body.dataset.state = state; // loading, ready, working, done or failed
  input.disabled = state === "loading" || state === "working";
  element("work").hidden = state !== "working";
}

// Returns the next message of the worker.
function answer(message, transfer = []) {
  return new Promise((resolve) => {
    finish = resolve;
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (event) => resolve({ error: event.message || "the model cannot be loaded" });
    worker.postMessage(message, transfer);
  });
}

async function load() {
  say("Loading the model …", "loading");
  worker = new Worker("worker.js", { type: "module" });
  const loaded = await answer({ settings });
  if (loaded.error) throw new Error(loaded.error);
  secondsPerPixel = loaded.secondsPerPixel;
  say("Ready.", "ready");
}

// Returns the size of the middle part that is taken of a picture: all of it, if it is small enough.
function fitting(width, height) {
  const factor = Math.min(1, Math.sqrt(settings.largest_pixels / (width * height)));
  return [Math.max(1, Math.floor(width * factor)), Math.max(1, Math.floor(height * factor))];
}

function drawn(bitmap) {
  const [width, height] = fitting(bitmap.width, bitmap.height);
  const canvas = element("before");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff"; // behind transparent pixels
  context.fillRect(0, 0, width, height);
  const left = Math.floor((bitmap.width - width) / 2);
  const top = Math.floor((bitmap.height - height) / 2);
  context.drawImage(bitmap, -left, -top);
  return context.getImageData(0, 0, width, height);
}

function showProgress(seconds, note) {
  const start = performance.now();
  const show = () => {
    const passed = (performance.now() - start) / 1000;
    const left = Math.max(0, Math.ceil(seconds - passed));
    element("progress").value = 99 * (1 - Math.exp((-3 * passed) / Math.max(seconds, 0.1)));
    say(`${note}Enlarging, ${left ? `about ${left} seconds left` : "almost done"} …`, "working");
  };
  show();
  return setInterval(show, 500);
}

async function show(bytes, width, height, name) {
  const canvas = element("after");
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(new ImageData(bytes, width, height), 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  if (!blob) throw new Error("the browser cannot write a picture of this size");
  const link = element("download");
  URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(blob);
  link.download = `${name.replace(/\.[^.]*$/, "")}-x${settings.scale}.png`;
  link.textContent = `Download (PNG, ${(blob.size / 2 ** 20).toFixed(1)} MB)`;
  element("view").style.maxWidth = `${width}px`;
  element("result").hidden = false;
}

async function enlarge(file) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) {
    say(`${file.name}: this browser cannot read the file as a picture. Choose a JPEG, PNG or WebP file.`, "failed");
    return;
  }
  element("result").hidden = true;
  const lr = drawn(bitmap);
  const cut = lr.width < bitmap.width || lr.height < bitmap.height;
  const note = cut
    ? `The picture has ${bitmap.width} x ${bitmap.height} pixels; its middle, ${lr.width} x ${lr.height}, is taken. `
    : "";
  const timer = showProgress(secondsPerPixel * lr.width * lr.height, note);
  const size = [lr.width * settings.scale, lr.height * settings.scale];
  const message = { bytes: lr.data, width: lr.width, height: lr.height };
  const { bytes, error } = await answer(message, [lr.data.buffer]);
  clearInterval(timer);
  if (error === "cancelled") {
    await load();
  } else if (error) {
    worker.terminate();
    await load();
    say(`The browser could not enlarge the picture; a smaller one may fit into its memory. (${error})`, "failed");
  } else {
    await show(bytes, ...size, file.name);
    say(`${note}Done: ${size[0]} x ${size[1]} pixels.`, "done");
  }
}

function failed(error) {
  say(`The page does not work here: ${error.message}. It needs a web server and a browser of 2023 or later.`, "failed");
  input.disabled = true;
}

function take(files) {
  if (files.length && input.disabled) say("Wait until the page is ready, and drop the photograph again.", "loading");
  else if (files.length) enlarge(files[0]).catch(failed);
  input.value = "";
}

input.onchange = () => take([...input.files]);
const drop = element("drop");
drop.ondragover = (event) => {
  event.preventDefault();
  drop.classList.add("over");
};
drop.ondragleave = () => drop.classList.remove("over");
drop.ondrop = (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  take([...event.dataTransfer.files]);
};
element("cancel").onclick = () => {
  worker.terminate();
  finish({ error: "cancelled" });
};
element("slider").oninput = (event) => element("view").style.setProperty("--cut", `${event.target.value}%`);
element("actual").onchange = (event) => {
  element("view").style.width = event.target.checked ? `${element("after").width}px` : "";
};

(async () => {
  settings = await (await fetch("model.json")).json();
  element("scale").textContent = settings.scale;
  element("limit").textContent = `up to ${settings.largest_pixels.toLocaleString("en")} pixels; of a larger picture the middle is taken`;
  element("about").textContent = `Model: ${settings.model}. Licence: ${settings.licence}.`;
  await load();
})().catch(failed);
