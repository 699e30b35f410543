// From the outputs of key frames to identities: association and life cycle.

// The one-to-one assignment of columns to the rows of a square matrix, n lines of n numbers in one
// array, with the largest sum.
export function assign(similarity, n) {
  // Shortest augmenting paths with potentials (Jonker and Volgenant, 1987). Row and column 0 are
  // artificial: path searches begin there.
  const rowPotential = new Float64Array(n + 1), columnPotential = new Float64Array(n + 1);
  const rowOf = new Int32Array(n + 1), previous = new Int32Array(n + 1);
  for (let row = 1; row <= n; ++row) {
    const distance = new Float64Array(n + 1).fill(Infinity);
    const done = new Uint8Array(n + 1);
    let column = 0;
    rowOf[0] = row;
    do {
      done[column] = 1;
      const here = rowOf[column];
      let nearest = 0, step = Infinity;
      for (let j = 1; j <= n; ++j) {
        if (done[j]) continue;
        const reduced = -similarity[(here - 1) * n + j - 1] - rowPotential[here] - columnPotential[j];
        if (reduced < distance[j]) {
          distance[j] = reduced;
          previous[j] = column;
        }
        if (distance[j] < step) {
          step = distance[j];
          nearest = j;
        }
      }
      for (let j = 0; j <= n; ++j) {
        if (done[j]) {
          rowPotential[rowOf[j]] += step;
          columnPotential[j] -= step;
        } else {
          distance[j] -= step;
        }
      }
      column = nearest;
    } while (rowOf[column] !== 0);
    for (; column !== 0; column = previous[column]) rowOf[column] = rowOf[previous[column]];
  }
  const columns = new Int32Array(n);
  for (let j = 1; j <= n; ++j) columns[rowOf[j] - 1] = j - 1;
  return columns;
}

// Associates each key frame with the one before by the cosine similarity of kernels. Every query is a
// track for the whole video. Matrices are {rows, columns, data}.
export class PreviousKeyframe {
  #reference = null; // the tracks' last kernels, of length 1

  // The kernels and scores of a key frame in the order of the tracks.
  associate(kernels, scores) {
    const { rows: n, columns: d } = kernels;
    const directions = new Float32Array(n * d);
    const finite = new Array(n);
    for (let i = 0; i < n; ++i) {
      const row = kernels.data.subarray(i * d, (i + 1) * d);
      // At least so much, so that kernels of zeros stay zero.
      const length = Math.max(Math.sqrt(row.reduce((sum, x) => sum + x * x, 0)), 1e-12);
      finite[i] = Number.isFinite(length);
      if (finite[i]) for (let k = 0; k < d; ++k) directions[i * d + k] = row[k] / length;
    }
    if (this.#reference === null) {
      this.#reference = directions;
      return [kernels, scores];
    }
    const similarity = new Float32Array(n * n);
    for (let track = 0; track < n; ++track) {
      for (let query = 0; query < n; ++query) {
        let sum = 0;
        for (let k = 0; k < d; ++k) sum += this.#reference[track * d + k] * directions[query * d + k];
        similarity[track * n + query] = sum;
      }
    }
    const order = assign(similarity, n);
    order.forEach((query, track) => {
      // A kernel that is no number never becomes a reference.
      if (finite[query]) this.#reference.set(directions.subarray(query * d, (query + 1) * d), track * d);
    });
    return [inOrder(kernels, order), inOrder(scores, order)];
  }
}

function inOrder(matrix, order) {
  const { rows, columns } = matrix;
  const data = new Float32Array(rows * columns);
  order.forEach((from, to) => data.set(matrix.data.subarray(from * columns, (from + 1) * columns), to * columns));
  return { rows, columns, data };
}

const SMOOTHING = 0.8; // weight of the past in the moving average of the scores
const CLASS_MARGIN = Math.fround(0.1); // the shown class changes when another one leads by this

// Turns the scores of key frames into visible tracks and identities, with hysteresis.
export class TrackManager {
  #options; // thresholds.streaming of model.json
  #smoothed = null;
  #tracks = [];
  #nextId = 1;

  constructor(options) {
    // Scores have single precision: compared with more of it, equal numbers would differ.
    const rounded = ['score_on', 'score_off'].map((name) => [name, Math.fround(options[name])]);
    this.#options = { ...options, ...Object.fromEntries(rounded) };
  }

  track(number) {
    return this.#tracks[number];
  }

  // Numbers of the tracks that can be visible after an update with these scores, or lower ones.
  candidates(scores) {
    return range(scores.rows).filter(
      (i) => this.#tracks[i]?.visible || rowOf(scores, i).some((score) => score >= this.#options.score_off),
    );
  }

  // Takes the scores {rows, columns, data} of a key frame in the order of the tracks.
  update(scores) {
    const { score_on, score_off, max_lost } = this.#options;
    // A score that is no number counts as 0: it would stay in the average for ever.
    const now = scores.data.map((score) => (Number.isNaN(score) ? 0 : score));
    if (this.#smoothed === null) {
      this.#smoothed = { ...scores, data: now };
      this.#tracks = range(scores.rows).map(() => ({ label: 0, score: 0, id: 0, visible: false, hidden: 0 }));
    } else {
      const before = this.#smoothed.data;
      this.#smoothed.data = now.map((score, k) => SMOOTHING * before[k] + (1 - SMOOTHING) * score);
    }
    const newcomers = [];
    for (const [i, track] of this.#tracks.entries()) {
      const row = rowOf(this.#smoothed, i);
      const leader = row.indexOf(Math.max(...row));
      // A hidden track has nothing on the screen that could flicker.
      if (!track.visible || row[leader] >= Math.fround(row[track.label] + CLASS_MARGIN)) track.label = leader;
      track.score = row[track.label];
      track.visible = track.score >= (track.visible ? score_off : score_on);
      const isAlive = track.id > 0 && track.hidden <= max_lost;
      if (track.visible && !isAlive) newcomers.push(track);
      track.hidden = track.visible ? 0 : track.hidden + 1;
    }
    newcomers.sort((a, b) => b.score - a.score);
    for (const track of newcomers) track.id = this.#nextId++;
  }

  // Numbers of the visible tracks, best first.
  visible() {
    const numbers = range(this.#tracks.length).filter((i) => this.#tracks[i].visible);
    numbers.sort((a, b) => this.#tracks[b].score - this.#tracks[a].score);
    return numbers.slice(0, this.#options.max_instances);
  }
}

function range(count) {
  return Array.from({ length: count }, (_, i) => i);
}

function rowOf(matrix, i) {
  return matrix.data.subarray(i * matrix.columns, (i + 1) * matrix.columns);
}
