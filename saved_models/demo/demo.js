// Turns an image, and shows what two networks make of it.
//
// `demo.json` (see training/demo.py) names the networks and holds the pictures.
// document.body.dataset.angle is the angle that all of the page is about.

import {Tensor, loadAndCompile, loadLiteRt} from "@litertjs/core";

const STEP = 5; // degrees between two marks of the ring
const find = (id) => document.getElementById(id);

const state = {angle: 0, picture: null, networks: [], runs: 0};

// === Turning ===

/** Turns an image of shape `[height, width, channels]` counter-clockwise, by
 * the nearest neighbour, with 0 outside, as keras_sre.transforms.rotate does:
 * quarter turns move pixels. */
function turn(values, [height, width, channels], angle) {
  let quarters = 0;
  if (height === width) {
    quarters = Math.floor(angle / 90);
    angle -= 90 * quarters;
  }
  const turned = new Float32Array(values.length);
  const [sine, cosine] = [Math.sin, Math.cos].map((f) =>
    f((angle * Math.PI) / 180),
  );
  const middle = [(height - 1) / 2, (width - 1) / 2];
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      let [y, x] = [row, column];
      for (let i = 0; i < quarters % 4; i++) [y, x] = [x, width - 1 - y];
      const [dy, dx] = [y - middle[0], x - middle[1]];
      const fromRow = angle
        ? Math.round(middle[0] + sine * dx + cosine * dy)
        : y;
      const fromColumn = angle
        ? Math.round(middle[1] + cosine * dx - sine * dy)
        : x;
      if (
        fromRow < 0 ||
        fromRow >= height ||
        fromColumn < 0 ||
        fromColumn >= width
      )
        continue;
      const [to, from] = [row * width + column, fromRow * width + fromColumn];
      for (let c = 0; c < channels; c++) {
        turned[to * channels + c] = values[from * channels + c];
      }
    }
  }
  return turned;
}

// === Networks ===

async function load(network) {
  const compiled = await loadAndCompile(network.file, {accelerator: "wasm"});
  const card = find("network").content.cloneNode(true).firstElementChild;
  card.dataset.network = network.name;
  card.querySelector("h2").textContent = network.title;
  card.querySelector(".about").textContent =
    `${network.model}, ` +
    `${network.parameters.toLocaleString("en")} parameters, ` +
    `${(network.bytes / 1e6).toFixed(1)} MB`;
  find("networks").append(card);
  return {...network, compiled, card};
}

/** Returns the scores and the feature map `{values, shape}` of an image. */
async function predict(network, image) {
  const input = new Tensor(image, [1, ...state.shape]);
  const outputs = await network.compiled.run(input);
  const found = {};
  for (const output of outputs) {
    const values = Float32Array.from(await output.data());
    const [, ...shape] = output.type.layout.dimensions;
    if (shape.length === 1) found.scores = [...values];
    else found.map = {values, shape};
    output.delete();
  }
  input.delete();
  return found;
}

/** Returns the smallest and the largest of many values. */
function extremes(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}

const best = (scores) => scores.indexOf(Math.max(...scores));

// === Drawing ===

function paint(canvas, values, [height, width, channels], toColor) {
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    const color = toColor(values.slice(i * channels, (i + 1) * channels));
    image.data.set([...color, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

/** Grey or RGB, from the darkest to the brightest value of the picture. */
function natural({low, high}) {
  return (values) => {
    const [r, g = r, b = r] = values;
    return [r, g, b].map((value) => (255 * (value - low)) / (high - low || 1));
  };
}

/** Returns what a colour of the style is, in the light or in the dark. */
function colorOf(name) {
  const probe = find("status");
  probe.style.color = `var(${name})`;
  const {color} = getComputedStyle(probe);
  probe.style.color = "";
  return color;
}

/** Blue below 0, white at 0, red above. */
function diverging(limit) {
  return ([value]) => {
    const share = Math.min(1, Math.abs(value) / limit);
    const [r, g, b] = value < 0 ? [33, 102, 172] : [178, 24, 43];
    return [r, g, b].map((part) => 255 + share * (part - 255));
  };
}

function drawDial() {
  const {picture, angle, shape} = state;
  const dial = find("dial");
  const context = dial.getContext("2d");
  const [ink, right, wrong] = ["--ink", "--right", "--wrong"].map(colorOf);
  const center = dial.width / 2;
  context.clearRect(0, 0, dial.width, dial.height);
  // One ring for each network.
  state.networks.forEach((network, index) => {
    const radius = center - 14 - 34 * index;
    (picture.right?.[index] ?? []).forEach((isRight, number) => {
      const from = -Math.PI / 2 - ((number + 0.5) * STEP * Math.PI) / 180;
      context.beginPath();
      context.arc(
        center,
        center,
        radius,
        from,
        from + (STEP * 0.92 * Math.PI) / 180,
      );
      context.lineWidth = isRight ? 22 : 8; // told apart without colours, too
      context.strokeStyle = isRight ? right : wrong;
      context.stroke();
    });
  });
  const marker = -Math.PI / 2 - (angle * Math.PI) / 180;
  const reach = center - 14 - 34 * state.networks.length + 8;
  context.beginPath();
  context.arc(
    center + reach * Math.cos(marker),
    center + reach * Math.sin(marker),
    7,
    0,
    7,
  );
  context.fillStyle = ink;
  context.fill();
  const small = document.createElement("canvas");
  paint(
    small,
    turn(picture.values, shape, angle % 360),
    shape,
    natural(picture),
  );
  const side = Math.floor((reach - 16) * Math.SQRT2);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, center - side / 2, center - side / 2, side, side);
}

function fill(network, {scores, map}) {
  const {card} = network;
  const guess = best(scores);
  card.dataset.right = guess === state.picture.label;
  card.dataset.scores = JSON.stringify(scores);
  card.querySelector(".label").textContent = state.labels[guess];
  card.querySelector(".mark").textContent =
    guess === state.picture.label ? "✓" : "✗";
  const bars = card.querySelector(".scores");
  bars.replaceChildren(
    ...scores.map((score, index) => {
      const bar = document.createElement("div");
      bar.className = "bar";
      bar.append(
        document.createElement("span"),
        document.createElement("div"),
        document.createElement("output"),
      );
      bar.children[0].textContent = state.labels[index];
      const line = document.createElement("i");
      line.style.width = `${100 * score}%`;
      bar.children[1].append(line);
      bar.children[2].textContent = `${Math.round(100 * score)} %`;
      return bar;
    }),
  );
  const back = turn(map.values, map.shape, (360 - state.angle) % 360);
  const [low, high] = extremes(map.values);
  const limit = Math.max(-low, high) || 1;
  paint(card.querySelector(".map"), back, map.shape, diverging(limit));
}

// === What the user does ===

/** Shows the picture at an angle; of many calls at once the last one counts. */
async function show(angle) {
  const run = ++state.runs;
  state.angle = angle;
  find("angle").value = angle;
  find("degrees").textContent = `${angle}°`;
  drawDial();
  const image = turn(state.picture.values, state.shape, angle % 360);
  const found = [];
  for (const network of state.networks) {
    found.push(await predict(network, image));
    if (run !== state.runs) return;
  }
  state.networks.forEach((network, index) => fill(network, found[index]));
  document.body.dataset.image = JSON.stringify([...image]);
  document.body.dataset.angle = angle;
}

/** Looks at all angles of a picture once, while it is the one chosen. */
async function survey(picture) {
  const right = state.networks.map(() => []);
  for (let angle = 0; angle < 360; angle += STEP) {
    // Lets the page listen and draw: networks run without a break.
    await new Promise((go) => setTimeout(go));
    if (state.picture !== picture) return;
    const image = turn(picture.values, state.shape, angle);
    for (const [index, network] of state.networks.entries()) {
      const {scores} = await predict(network, image);
      right[index].push(best(scores) === picture.label);
    }
  }
  picture.right = right;
}

function tally(picture) {
  state.networks.forEach((network, index) => {
    const right = picture.right?.[index];
    network.card.querySelector(".tally").textContent = right
      ? `Right at ${right.filter(Boolean).length} of ${right.length} angles.`
      : "";
  });
}

async function choose(picture) {
  state.picture = picture;
  find("truth").textContent = state.labels[picture.label];
  for (const button of find("pictures").children) {
    button.setAttribute("aria-pressed", button.picture === picture);
  }
  tally(picture);
  await show(0);
  if (!picture.right) await survey(picture);
  if (state.picture !== picture) return;
  tally(picture);
  drawDial();
}

function report(error) {
  find("status").textContent =
    `This page does not work here: ${error.message ?? error}`;
  document.body.dataset.failed = true;
  throw error;
}

function listen() {
  const slider = find("angle");
  slider.disabled = false;
  slider.addEventListener("input", () => {
    show(Number(slider.value)).catch(report);
  });
  const dial = find("dial");
  let grabbed = null;
  const bearing = (event) => {
    const box = dial.getBoundingClientRect();
    const [x, y] = [
      event.clientX - box.x - box.width / 2,
      event.clientY - box.y - box.height / 2,
    ];
    return (-Math.atan2(y, x) * 180) / Math.PI;
  };
  dial.addEventListener("pointerdown", (event) => {
    dial.setPointerCapture(event.pointerId);
    grabbed = bearing(event) - state.angle;
  });
  dial.addEventListener("pointermove", (event) => {
    if (grabbed === null) return;
    const angle = Math.round(bearing(event) - grabbed);
    show(((angle % 360) + 360) % 360).catch(report);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    dial.addEventListener(end, () => {
      grabbed = null;
    });
  }
}

function addPicture({label, values: encoded}) {
  const bytes = Uint8Array.from(atob(encoded), (char) => char.charCodeAt(0));
  const values = new Float32Array(bytes.buffer);
  const [low, high] = extremes(values);
  const picture = {label, values, low, high};
  const button = document.createElement("button");
  button.title = state.labels[picture.label];
  button.picture = picture;
  const canvas = document.createElement("canvas");
  paint(canvas, picture.values, state.shape, natural(picture));
  button.append(canvas);
  button.addEventListener("click", () => choose(picture).catch(report));
  find("pictures").append(button);
}

async function main() {
  const description = await (await fetch("demo.json")).json();
  Object.assign(state, {
    labels: description.labels,
    shape: description.input_shape,
  });
  if (description.trained_turned)
    find("seen").textContent = "turned images, too";
  await loadLiteRt("./vendor/wasm/");
  for (const network of description.networks) {
    state.networks.push(await load(network));
  }
  description.pictures.forEach(addPicture);
  find("source").textContent = [
    description.dataset,
    description.licence_of_data,
  ]
    .filter(Boolean)
    .join(", ");
  listen();
  await choose(find("pictures").firstElementChild.picture);
  find("status").textContent = "";
  document.body.dataset.ready = true;
}

main().catch(report);
