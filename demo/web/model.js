// An exported folder: its model.json, and its graphs in ONNX Runtime.

const FORMAT_VERSION = 4;

export class Model {
  #ort;
  #sessions;

  constructor(ort, manifest, sessions) {
    this.#ort = ort;
    this.#sessions = sessions;
    this.manifest = manifest;
    [this.height, this.width] = manifest.input.shape.slice(2);
  }

  // Loads a folder. `ort` is the module onnxruntime-web, and `read` gives the bytes of a file of the
  // folder by its name, as a promise. Fails with an Error that names the file.
  static async load(ort, read, progress = () => {}) {
    const manifest = JSON.parse(new TextDecoder().decode(await read('model.json')));
    check(manifest);
    const sessions = {}; // by file: graphs share files
    const graphs = ['keyframe', 'reuse'].filter((name) => name in manifest.graphs);
    const files = graphs.flatMap((name) => Object.keys(manifest.graphs[name].files));
    for (const file of new Set(files)) {
      progress(file);
      const bytes = await read(file);
      try {
        sessions[file] = await ort.InferenceSession.create(bytes, { executionProviders: ['wasm'] });
      } catch (error) {
        throw new Error(`${file} cannot be loaded: ${error.message ?? error}`);
      }
    }
    return new Model(ort, manifest, sessions);
  }

  // Kernels {rows, columns, data}, scores, and mask features {channels, height, width, data} of an
  // image as toInput() makes it.
  async keyframe(image) {
    const { kernels, scores, mask_features: features } = await this.#run('keyframe', image);
    return { kernels: matrix(kernels), scores: matrix(scores), features: planes(features) };
  }

  // Whether the model was exported with the graph for frames that reuse the kernels of a key frame.
  get canReuse() {
    return 'reuse' in this.manifest.graphs;
  }

  // The mask features alone.
  async reuse(image) {
    return planes((await this.#run('reuse', image)).mask_features);
  }

  // Each file of a graph goes on with what the ones before it gave, by name.
  async #run(name, image) {
    const { files, inputs, outputs } = this.manifest.graphs[name];
    const tensors = { [inputs.image.tensor]: new this.#ort.Tensor(this.manifest.input.dtype, image, this.manifest.input.shape) };
    for (const file of Object.keys(files)) {
      const session = this.#sessions[file];
      const feeds = Object.fromEntries(session.inputNames.map((input) => [input, tensors[input]]));
      Object.assign(tensors, await session.run(feeds));
    }
    return Object.fromEntries(Object.keys(outputs).map((output) => [output, tensors[outputs[output].tensor]]));
  }
}

const matrix = ({ dims, data }) => ({ rows: dims[1], columns: dims[2], data });
const planes = ({ dims, data }) => ({ channels: dims[1], height: dims[2], width: dims[3], data });

function check(manifest) {
  const refuse = (why) => {
    throw new Error(`model.json: ${why}`);
  };
  if (manifest.format_version !== FORMAT_VERSION)
    refuse(`format_version is ${manifest.format_version}, this page reads ${FORMAT_VERSION}: export the model again`);
  if (manifest.runtime !== 'onnx')
    refuse(`the model is for ${manifest.runtime}: export it with tools/export.py --format onnx`);
  if (!('keyframe' in manifest.graphs)) refuse('the model was exported without the graph keyframe and cannot track');
  const { mode } = manifest.thresholds.tracking;
  if (mode !== 'prev') refuse(`thresholds.tracking.mode is ${mode}, this page associates in the mode prev`);
}
