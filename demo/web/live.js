// Live tracking: one frame in, its visible instances out.

import { fittedSize, resize, toInput } from './image.js';
import { frameTaps, maskProduct, maskScore, pasteMask, probabilities } from './masks.js';
import { PreviousKeyframe, TrackManager } from './tracker.js';

export class LiveTracker {
  isKeyframe = false; // the last frame
  timings = {}; // milliseconds of the last frame: prepare, network, masks
  #model;
  #clipLen;
  #sinceKeyframe;
  #kernels; // of the last key frame, in the order of the tracks
  #association;
  #tracks;

  // Every clipLen-th frame is a key frame; the others reuse its kernels.
  constructor(model, clipLen = model.manifest.thresholds.tracking.clip_len) {
    if (clipLen > 1 && !model.canReuse)
      throw new Error('the model was exported without the graph reuse: it tracks with a clip length of 1');
    this.#model = model;
    this.#clipLen = clipLen;
    this.reset();
  }

  // Starts a new video. Identities start at 1 again.
  reset() {
    this.#sinceKeyframe = 0;
    this.#association = new PreviousKeyframe();
    this.#tracks = new TrackManager(this.#model.manifest.thresholds.streaming);
  }

  // Tracks the next frame, an ImageData. Gives what is visible, best first: [{id, label, score, mask}],
  // with masks as pasteMask() makes them.
  async step(frame) {
    const start = performance.now();
    const model = this.#model;
    const [width, height] = fittedSize(frame.width, frame.height, model.width, model.height);
    const input = toInput(resize(frame, width, height), model.manifest.input);
    const prepared = performance.now();
    this.isKeyframe = this.#sinceKeyframe === 0;
    const outputs = this.isKeyframe ? await model.keyframe(input) : { features: await model.reuse(input) };
    const computed = performance.now();
    // Only now: a frame that fails in the network changes nothing.
    this.#sinceKeyframe = (this.#sinceKeyframe + 1) % this.#clipLen;
    if (this.isKeyframe) this.#takeKeyframe(outputs);
    const instances = this.#show(outputs.features, frame, width, height);
    this.timings = {
      prepare: prepared - start, network: computed - prepared, masks: performance.now() - computed,
    };
    return instances;
  }

  #takeKeyframe({ kernels, scores, features }) {
    [this.#kernels, scores] = this.#association.associate(kernels, scores);
    const { mask, mask_rescore: isRescored } = this.#model.manifest.thresholds;
    if (isRescored) {
      scores = { ...scores, data: scores.data.slice() };
      // The mask score only lowers scores. Tracks that stay hidden anyway go without.
      for (const track of this.#tracks.candidates(scores)) {
        const quality = maskScore(this.#probabilities(track, features), mask);
        for (let k = 0; k < scores.columns; ++k) scores.data[track * scores.columns + k] *= quality;
      }
    }
    this.#tracks.update(scores);
  }

  #show(features, frame, width, height) {
    const { mask_stride: stride, mask_upsampling: upsampling, thresholds } = this.#model.manifest;
    const step = stride / upsampling;
    const columns = frameTaps(frame.width, width, upsampling * features.width, step);
    const rows = frameTaps(frame.height, height, upsampling * features.height, step);
    const instances = [];
    for (const number of this.#tracks.visible()) {
      const mask = pasteMask(this.#probabilities(number, features), columns, rows, thresholds.mask);
      const { id, label, score } = this.#tracks.track(number);
      if (mask !== null) instances.push({ id, label, score, mask });
    }
    return instances;
  }

  #probabilities(track, features) {
    const logits = maskProduct(this.#kernels, track, features);
    const { mask_upsampling: upsampling, thresholds } = this.#model.manifest;
    return probabilities(logits, features.height, features.width, upsampling, thresholds.mask);
  }
}
