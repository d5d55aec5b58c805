// Drawings on canvases: a sound as one line of a pen, and what the model sees in the colours of the page.
import { pngUrl } from "./api.js";

const CHALK = "#f4f3ee";
const ACCENT = "#ff5a36";
const STEP_PX = 5;

function prepare(canvas) {
  const scale = window.devicePixelRatio || 1;
  const { width, height } = canvas.getBoundingClientRect();
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const brush = canvas.getContext("2d");
  brush.scale(scale, scale);
  brush.lineCap = brush.lineJoin = "round";
  return { brush, width, height };
}

/**
 * A waveform as a line that swings as far as the sound is loud; peaks from 0 to 1. `played`: share drawn in the accent;
 * `filled`: share of the width that is taken; `gain`: 0 makes the loudest fill the height.
 */
export function paintLine(canvas, peaks, { played = 0, filled = 1, gain = 0 } = {}) {
  const { brush, width, height } = prepare(canvas);
  if (!width) return;
  const middle = height / 2;
  const loudest = gain ? 1 / gain : Math.max(1e-4, ...peaks);
  const numPoints = Math.max(2, Math.round((width * filled) / STEP_PX));
  const path = new Path2D();
  let [x, y] = [2, middle];
  path.moveTo(x, y);
  for (let i = 0; i < numPoints; i++) {
    const from = Math.floor((i * peaks.length) / numPoints);
    const to = Math.max(from + 1, Math.floor(((i + 1) * peaks.length) / numPoints));
    const peak = Math.min(1, Math.max(0, ...peaks.slice(from, to)) / loudest);
    const [nextX, nextY] = [2 + ((i + 0.5) / numPoints) * (width * filled - 4), middle + (i % 2 ? 1 : -1) * peak * (middle - 4)];
    path.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
    [x, y] = [nextX, nextY];
  }
  path.lineTo(Math.max(x, width * filled - 2), middle);
  brush.lineWidth = 2;
  brush.strokeStyle = CHALK;
  brush.stroke(path);
  if (played > 0) {
    brush.beginPath();
    brush.rect(0, 0, width * played, height);
    brush.clip();
    brush.strokeStyle = ACCENT;
    brush.stroke(path);
  }
}

// From nothing to loud: board, embers, accent, chalk.
const PALETTE = [[11, 11, 12], [74, 20, 10], [196, 52, 20], [255, 120, 70], [255, 226, 190], [255, 252, 240]];

function colour(value, channel) {
  const place = value * (PALETTE.length - 1);
  const i = Math.min(PALETTE.length - 2, Math.floor(place));
  return PALETTE[i][channel] + (place - i) * (PALETTE[i + 1][channel] - PALETTE[i][channel]);
}

/** Paints the grey picture of the features in the palette and says in words what is on it. */
export async function paintFeatures(canvas, { bins, frames, png }) {
  const image = new Image();
  image.src = pngUrl(png);
  await image.decode();
  const [width, height] = [image.naturalWidth, image.naturalHeight];
  canvas.width = width;
  canvas.height = height;
  const brush = canvas.getContext("2d", { willReadFrequently: true });
  brush.drawImage(image, 0, 0);
  const pixels = brush.getImageData(0, 0, width, height);
  const bands = [0, 0, 0]; // low, middle, high: their share of what is bright
  for (let i = 0; i < pixels.data.length; i += 4) {
    const value = pixels.data[i] / 255;
    bands[2 - Math.min(2, Math.floor((3 * Math.floor(i / 4 / width)) / height))] += value;
    for (let c = 0; c < 3; c++) pixels.data[i + c] = colour(value, c);
  }
  brush.putImageData(pixels, 0, 0);
  const most = ["low", "middle", "high"][bands.indexOf(Math.max(...bands))];
  canvas.setAttribute("aria-label", `Log-mel spectrogram, ${bins} bands by ${frames} moments, brightest in the ${most} bands`);
}
