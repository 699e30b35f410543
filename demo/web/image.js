// The network's input from a frame.

const BITS = 22;

// To the nearest whole number, of two equally near ones to the even one, as Python and C do.
function roundHalfToEven(value) {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}

// The size [width, height] of a frame that fits into a network's input, with the frame's aspect ratio.
export function fittedSize(width, height, netWidth, netHeight) {
  const scale = Math.min(netWidth / width, netHeight / height);
  return [width, height].map((side) => Math.max(1, roundHalfToEven(side * scale)));
}

// For each pixel of a line of `out` pixels: the first pixel of the line of `length` pixels that it
// is made of, and the weights of this and the following ones, in units of 2^-BITS.
function triangleFilter(length, out) {
  const scale = length / out;
  const support = Math.max(scale, 1);
  return Array.from({ length: out }, (_, i) => {
    const center = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(length, Math.trunc(center + support + 0.5));
    const weights = [];
    for (let x = first; x < end; ++x) weights.push(Math.max(0, 1 - Math.abs((x - center + 0.5) / support)));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return { first, weights: weights.map((weight) => Math.trunc(0.5 + (weight / total) * 2 ** BITS)) };
  });
}

// Filters `lines` lines of pixels of three channels; pixel i of line l begins at l * line + i * step.
function filter(taps, lines, input, inLine, inStep, output, outLine, outStep) {
  const half = 2 ** (BITS - 1), one = 2 ** BITS;
  for (let line = 0; line < lines; ++line) {
    for (let i = 0; i < taps.length; ++i) {
      const { first, weights } = taps[i];
      let source = line * inLine + first * inStep;
      let red = half, green = half, blue = half;
      for (let k = 0; k < weights.length; ++k, source += inStep) {
        const weight = weights[k];
        red += weight * input[source];
        green += weight * input[source + 1];
        blue += weight * input[source + 2];
      }
      const target = line * outLine + i * outStep;
      output[target] = Math.min(255, Math.floor(red / one));
      output[target + 1] = Math.min(255, Math.floor(green / one));
      output[target + 2] = Math.min(255, Math.floor(blue / one));
    }
  }
}

// Resizes an ImageData (or what has its width, height and RGBA data) as Pillow does with BILINEAR, to
// the bit: a triangle filter that is as wide as a pixel of the result, so that nothing is skipped.
// Returns {width, height, rgb}, with three bytes per pixel.
export function resize(frame, width, height) {
  const wide = new Uint8ClampedArray(width * frame.height * 3);
  filter(triangleFilter(frame.width, width), frame.height, frame.data, frame.width * 4, 4, wide, width * 3, 3);
  const rgb = new Uint8ClampedArray(width * height * 3);
  filter(triangleFilter(frame.height, height), width, wide, 3, width * 3, rgb, 3, width * 3);
  return { width, height, rgb };
}

// The input of a network (3, H, W) of an image that fits into it: top left, in [0, 255], padded; of the
// type that the network reads, for which the padding is rounded.
export function toInput(image, input) {
  const [height, width] = input.shape.slice(2);
  const order = input.channels === 'RGB' ? [0, 1, 2] : [2, 1, 0];
  const values = new (input.dtype === 'uint8' ? Uint8ClampedArray : Float32Array)(3 * height * width);
  order.forEach((source, channel) => {
    const plane = values.subarray(channel * height * width, (channel + 1) * height * width);
    plane.fill(input.pad_value[channel]);
    for (let y = 0; y < image.height; ++y)
      for (let x = 0; x < image.width; ++x)
        plane[y * width + x] = image.rgb[(y * image.width + x) * 3 + source];
  });
  return input.dtype === 'uint8' ? new Uint8Array(values.buffer) : values;
}
