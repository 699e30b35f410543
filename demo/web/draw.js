// Instances drawn over a frame.

// The colour of an identity, [red, green, blue]: hues a golden ratio apart are never close together.
export function colorOf(identity) {
  const hue = ((identity * 0.618034) % 1) * 6;
  return [0, 1, 2].map((channel) => {
    const distance = Math.abs(((hue + 6 - 2 * channel) % 6) - 3); // 3 at the channel's own hue
    return Math.round(255 * Math.min(Math.max(distance - 1, 0), 1));
  });
}

// Tints the masks in an ImageData.
export function tint(frame, instances) {
  for (const { id, mask } of instances) {
    const color = colorOf(id);
    const width = mask.x1 - mask.x0;
    for (let i = 0; i < mask.pixels.length; ++i) {
      if (!mask.pixels[i]) continue;
      const at = ((mask.y0 + Math.floor(i / width)) * frame.width + mask.x0 + (i % width)) * 4;
      for (let c = 0; c < 3; ++c) frame.data[at + c] = (frame.data[at + c] + color[c]) / 2;
    }
  }
}

// Draws boxes and labels on a canvas that shows a frame; they grow with the frame.
export function label(context, instances, classNames) {
  const side = Math.max(12, Math.round(Math.max(context.canvas.width, context.canvas.height) / 36));
  context.font = `${side}px system-ui, sans-serif`;
  context.textBaseline = 'top';
  context.lineWidth = Math.max(1, side / 10);
  for (const { id, label: index, score, mask } of instances) {
    const color = `rgb(${colorOf(id).join(' ')})`;
    context.strokeStyle = color;
    context.strokeRect(mask.x0, mask.y0, mask.x1 - mask.x0, mask.y1 - mask.y0);
    const text = `#${id} ${classNames[index]} ${score.toFixed(2).replace(/^0/, '')}`;
    const width = context.measureText(text).width + side / 2;
    const x = Math.max(0, Math.min(mask.x0, context.canvas.width - width));
    const y = Math.max(0, mask.y0 - 1.3 * side);
    context.fillStyle = 'rgb(25 25 25 / 0.8)';
    context.fillRect(x, y, width, 1.3 * side);
    context.fillStyle = color;
    context.fillText(text, x + side / 4, y + 0.15 * side);
  }
}
