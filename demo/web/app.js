// The page: a video file or the camera in, frames with masks out.

import * as ort from './ort/ort.wasm.min.mjs';
import { label, tint } from './draw.js';
import { LiveTracker } from './live.js';
import { Model } from './model.js';

const $ = (id) => document.getElementById(id);
const [view, video, file, camera, stop, clipLen] = ['view', 'video', 'file', 'camera', 'stop', 'clip-len'].map($);
const screen = view.getContext('2d');
const scratch = document.createElement('canvas').getContext('2d', { willReadFrequently: true });

let model;
let running = null; // what is being tracked; another object, or null, ends the loop

function say(text, isError = false) {
  $('status').textContent = text;
  $('status').classList.toggle('error', isError);
}

async function read(name) {
  const response = await fetch(`model/${encodeURIComponent(name)}`);
  if (!response.ok) throw new Error(`${name} cannot be read: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}

async function load() {
  // One thread needs no headers that isolate the page, and runs in every browser.
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL('ort/', location.href).href;
  model = await Model.load(ort, read, (name) => say(`Loading ${name} ...`));
  clipLen.value = model.canReuse ? model.manifest.thresholds.tracking.clip_len : 1;
  for (const element of [file, camera]) element.disabled = false;
  clipLen.disabled = !model.canReuse;
  document.body.dataset.ready = 'true';
  say(`Ready: ${model.width}x${model.height}, ${model.manifest.class_names.join(', ')}.`);
}

// Plays what `source` sets up, and tracks the frame that is shown whenever the last one is done.
async function track(source) {
  const run = {};
  end();
  running = run;
  stop.disabled = false;
  try {
    await source();
    await video.play();
    const tracker = new LiveTracker(model, Math.max(1, Number(clipLen.value) || 1));
    let count = 0, shown = -1, milliseconds = 0;
    while (running === run && !video.ended) {
      await new Promise(requestAnimationFrame);
      if (video.currentTime === shown || video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) continue;
      shown = video.currentTime;
      const frame = grab();
      const instances = await tracker.step(frame);
      if (running !== run) break;
      show(frame, instances);
      const { prepare, network, masks } = tracker.timings;
      const now = prepare + network + masks;
      milliseconds = count ? 0.9 * milliseconds + 0.1 * now : now;
      document.body.dataset.frames = ++count;
      document.body.dataset.instances = instances.length;
      say(`${instances.length} objects. ${milliseconds.toFixed(0)} ms per frame; this one: ` +
        `${prepare.toFixed(0)} image, ${network.toFixed(0)} network, ${masks.toFixed(0)} masks.`);
    }
  } catch (error) {
    if (running === run) say(error.message ?? String(error), true);
  } finally {
    if (running === run) end();
  }
}

function end() {
  running = null;
  stop.disabled = true;
  video.pause();
  for (const part of video.srcObject?.getTracks() ?? []) part.stop();
  video.srcObject = null;
  if (video.src) URL.revokeObjectURL(video.src);
  video.removeAttribute('src');
}

function grab() {
  const [width, height] = [video.videoWidth, video.videoHeight];
  if (scratch.canvas.width !== width || scratch.canvas.height !== height)
    Object.assign(scratch.canvas, { width, height });
  scratch.drawImage(video, 0, 0);
  return scratch.getImageData(0, 0, width, height);
}

function show(frame, instances) {
  if (view.width !== frame.width || view.height !== frame.height)
    Object.assign(view, { width: frame.width, height: frame.height });
  tint(frame, instances);
  screen.putImageData(frame, 0, 0);
  label(screen, instances, model.manifest.class_names);
}

file.addEventListener('change', () => {
  const [chosen] = file.files;
  file.value = '';
  if (chosen) track(() => { video.src = URL.createObjectURL(chosen); });
});

camera.addEventListener('click', () => track(async () => {
  if (!navigator.mediaDevices)
    throw new Error('This browser gives the camera to localhost and https pages only: start serve.py with --https.');
  const wanted = { facingMode: 'environment', width: { ideal: 640 } };
  video.srcObject = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
}));

stop.addEventListener('click', end);

load().catch((error) => say(error.message ?? String(error), true));
