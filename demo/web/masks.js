// From kernels and mask features to masks in the frame.

// Two of `size` values between which a position lies, and how near it is to the second.
function neighbours(position, size) {
  const inside = Math.min(Math.max(position, 0), size - 1);
  const low = Math.floor(inside);
  return { low, high: Math.min(low + 1, size - 1), weight: inside - low };
}

// Where the centre of pixel `i` lies on a grid that has `scale` pixels for each of its own.
const position = (i, scale) => (i + 0.5) * scale - 0.5;

// The smallest box {x0, y0, x1, y1} around the values above a threshold; null where there is none.
function tightBox(values, height, width, threshold) {
  let x0 = width, x1 = -1, y0 = height, y1 = -1;
  for (let y = 0; y < height; ++y) {
    for (let x = 0; x < width; ++x) {
      if (!(values[y * width + x] > threshold)) continue;
      if (x < x0) x0 = x;
      if (x > x1) x1 = x;
      if (y < y0) y0 = y;
      y1 = y;
    }
  }
  return x1 < 0 ? null : { x0, y0, x1: x1 + 1, y1: y1 + 1 };
}

// Mask logits (h, w) of a track: its kernel times the mask features {channels, height, width, data}.
export function maskProduct(kernels, track, features) {
  const area = features.height * features.width;
  const logits = new Float32Array(area);
  for (let d = 0; d < features.channels; ++d) {
    const weight = kernels.data[track * kernels.columns + d];
    const feature = features.data.subarray(d * area, (d + 1) * area);
    for (let p = 0; p < area; ++p) logits[p] += weight * feature[p];
  }
  return logits;
}

// The probabilities of a mask after upsampling its logits bilinearly, of which only a box around the
// foreground is kept: no pixel of the frame that needs others belongs to the mask. Null without one.
export function probabilities(logits, height, width, upsampling, threshold) {
  // One for the resizing here, one for the neighbours that pixels of the frame have.
  const margin = 2;
  const box = tightBox(logits, height, width, Math.log(threshold / (1 - threshold)));
  if (box === null) return null;
  const x0 = upsampling * Math.max(0, box.x0 - margin), y0 = upsampling * Math.max(0, box.y0 - margin);
  const columns = upsampling * Math.min(width, box.x1 + margin) - x0;
  const rows = upsampling * Math.min(height, box.y1 + margin) - y0;
  const values = new Float32Array(rows * columns);
  const across = Array.from({ length: columns }, (_, x) => neighbours(position(x0 + x, 1 / upsampling), width));
  for (let y = 0; y < rows; ++y) {
    const down = neighbours(position(y0 + y, 1 / upsampling), height);
    const upper = down.low * width, lower = down.high * width;
    for (let x = 0; x < columns; ++x) {
      const { low, high, weight } = across[x];
      const first = logits[upper + low] + weight * (logits[upper + high] - logits[upper + low]);
      const second = logits[lower + low] + weight * (logits[lower + high] - logits[lower + low]);
      values[y * columns + x] = 1 / (1 + Math.exp(-(first + down.weight * (second - first))));
    }
  }
  return { x0, y0, width: columns, height: rows, values };
}

// Mean probability of the foreground, which is above the threshold; 0 without foreground.
export function maskScore(probs, threshold) {
  if (probs === null) return 0;
  let total = 0, area = 0;
  for (const value of probs.values) {
    if (!(value > threshold)) continue;
    total += value;
    area += 1;
  }
  return area === 0 ? 0 : total / area;
}

// Where the pixels of a frame lie among probabilities, on one axis. These are resized to the network's
// input, cut off at the end of the image in it, and resized to the frame, both bilinearly: each pixel of
// the frame has two neighbours in the image, and each of these two among the probabilities, which are
// `stride` pixels of the image apart.
export function frameTaps(frameSide, imageSide, probsSide, stride) {
  return Array.from({ length: frameSide }, (_, i) => {
    const outer = neighbours(position(i, imageSide / frameSide), imageSide);
    const first = neighbours(position(outer.low, 1 / stride), probsSide);
    const second = neighbours(position(outer.high, 1 / stride), probsSide);
    const weight = outer.weight;
    return {
      index: [first.low, first.high, second.low, second.high],
      weight: [
        (1 - weight) * (1 - first.weight), (1 - weight) * first.weight,
        weight * (1 - second.weight), weight * second.weight,
      ],
    };
  });
}

// The pixels of the frame, [begin, end), of which all neighbours are among `size` ones from `first` on.
function inside(taps, first, size) {
  let begin = 0, end = taps.length;
  while (begin < end && taps[begin].index[0] < first) ++begin;
  while (begin < end && taps[end - 1].index[3] >= first + size) --end;
  return [begin, end];
}

// The binary mask in the frame: {x0, y0, x1, y1, pixels}, pixels of the box row by row, 0 or 1. Null
// where it is empty.
export function pasteMask(probs, columns, rows, threshold) {
  if (probs === null) return null;
  const [beginX, endX] = inside(columns, probs.x0, probs.width);
  const [beginY, endY] = inside(rows, probs.y0, probs.height);
  const width = endX - beginX, height = endY - beginY;
  const pixels = new Uint8Array(Math.max(0, width * height));
  const line = new Float32Array(probs.width);
  for (let y = 0; y < height; ++y) {
    const row = rows[beginY + y];
    line.fill(0);
    for (let tap = 0; tap < 4; ++tap) {
      const from = (row.index[tap] - probs.y0) * probs.width, weight = row.weight[tap];
      for (let x = 0; x < probs.width; ++x) line[x] += weight * probs.values[from + x];
    }
    for (let x = 0; x < width; ++x) {
      const { index, weight } = columns[beginX + x];
      let sum = 0;
      for (let tap = 0; tap < 4; ++tap) sum += weight[tap] * line[index[tap] - probs.x0];
      pixels[y * width + x] = sum > threshold ? 1 : 0;
    }
  }
  const box = tightBox(pixels, height, width, 0);
  if (box === null) return null;
  const tight = new Uint8Array((box.x1 - box.x0) * (box.y1 - box.y0));
  for (let y = box.y0; y < box.y1; ++y)
    tight.set(pixels.subarray(y * width + box.x0, y * width + box.x1), (y - box.y0) * (box.x1 - box.x0));
  return { x0: beginX + box.x0, y0: beginY + box.y0, x1: beginX + box.x1, y1: beginY + box.y1, pixels: tight };
}
