// Tracks frames with the modules of demo/web and writes what it finds, for test_web_example.py.
//   node web_track.mjs REQUEST.json     with runtime, page, model, frames, results, masks (paths), clipLen

import { readFile, writeFile } from 'node:fs/promises';
import { pathToFileURL } from 'node:url';

const request = JSON.parse(await readFile(process.argv[2], 'utf8'));
const load = (folder, name) => import(new URL(name, pathToFileURL(`${folder}/`)));
const ort = await load(request.runtime, 'ort.node.min.mjs');
ort.env.wasm.numThreads = 1;
const { Model } = await load(request.page, 'model.js');
const { LiveTracker } = await load(request.page, 'live.js');

const model = await Model.load(ort, (name) => readFile(`${request.model}/${name}`));
const tracker = new LiveTracker(model, request.clipLen);
const lines = [], masks = [];
for (const { file, width, height } of request.frames) {
  const frame = { width, height, data: new Uint8ClampedArray(await readFile(file)) };
  const instances = await tracker.step(frame);
  for (const { mask } of instances) {
    const whole = new Uint8Array(width * height);
    const columns = mask.x1 - mask.x0;
    for (let y = mask.y0; y < mask.y1; ++y)
      whole.set(mask.pixels.subarray((y - mask.y0) * columns, (y - mask.y0 + 1) * columns), y * width + mask.x0);
    masks.push(whole);
  }
  lines.push({
    isKeyframe: tracker.isKeyframe,
    instances: instances.map(({ id, label, score }) => ({ id, label, score })),
  });
}
await writeFile(request.results, JSON.stringify(lines));
await writeFile(request.masks, Buffer.concat(masks));
