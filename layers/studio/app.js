// The steps of the page: which film, what should go, remove it, keep it. All that matters is known
// to the server; the page can be loaded again at any time.

import { Stage, place } from "./stage.js";

const $ = (id) => document.getElementById(id);
const COLOURS = ["#ff4d4d", "#3399ff", "#ffbe0b", "#2ec478", "#ba68ff", "#ff8028", "#00c4d4", "#ff69b4"];
const BETWEEN_LOOKS = 700; // milliseconds between two questions about a job
const WORDS = {
  follow: ["Following", "It is followed."],
  remove: ["Removing", "It is removed."],
};

let state = null; // as the server has it
let film = null; // state.film
let chosen = 1; // the object that clicks are for
let numObjects = 1;
let clicksKeep = false;
let pending = null; // points that the server hasn't got yet
let isLooking = false;

// --- asking the server ---------------------------------------------------------------------------

function report(text) {
  $("error").hidden = !text;
  $("error").firstElementChild.textContent = text;
}

async function ask(method, path, body) {
  const options = { method };
  if (body !== undefined) options.body = JSON.stringify(body);
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The program behind this page doesn't answer: is it still running in its terminal?");
  }
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}

// Do something about the film, and show what has come of it.
async function act(method, what, body = {}) {
  try {
    const path = ["api/film", film.number, what].filter(Boolean).join("/");
    show(await ask(method, path, method === "GET" ? undefined : body));
    if (method !== "GET") report("");
    return true;
  } catch (error) {
    report(error.message);
    return false;
  }
}

// --- which film ----------------------------------------------------------------------------------

function showState(next) {
  state = next;
  $("folder").textContent = state.folder;
  $("in-folder").hidden = !state.films.length;
  $("films").replaceChildren(
    ...state.films.map((name) => {
      const row = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      button.addEventListener("click", () => openFilm(ask("POST", "api/open", { name })));
      row.append(button);
      return row;
    }),
  );
  $("model").replaceChildren(new Option("Usual model", ""));
  for (const name of state.models) $("model").add(new Option(name.replaceAll("_", " "), name));
  choosing(!state.film);
  if (state.film) show(state.film);
}

function choosing(isOn) {
  $("choose").hidden = !isOn;
  $("work").hidden = isOn;
  $("other").hidden = !film && !state.film;
  $("other").textContent = isOn ? "Back" : "Other film";
  $("film-name").textContent = isOn || !state.film ? "" : state.film.name;
  if (isOn) stage.pause();
}

async function openFilm(answer) {
  $("film-name").textContent = "Opening…";
  try {
    const next = await answer;
    [chosen, numObjects] = [1, 1];
    report("");
    showState(next);
  } catch (error) {
    $("film-name").textContent = "";
    report(error.message);
  }
}

function upload(file) {
  if (!file) return;
  if (file.size > state.maxUpload) {
    const gigabytes = (bytes) => `${Number((bytes / 1e9).toPrecision(3))} GB`;
    report(
      `${file.name} has ${gigabytes(file.size)}, more than the ${gigabytes(state.maxUpload)} that are ` +
        "taken here. Start the page with the film instead: python -m layers studio FILM",
    );
    return;
  }
  const bar = $("upload");
  bar.hidden = false;
  // fetch() doesn't tell how far it is
  const request = new XMLHttpRequest();
  request.upload.onprogress = (event) => (bar.value = event.loaded / event.total);
  const done = new Promise((resolve, reject) => {
    request.onload = () =>
      request.status < 300
        ? resolve(JSON.parse(request.responseText))
        : reject(new Error(request.responseText));
    request.onerror = () => reject(new Error(`${file.name} could not be sent: try again`));
  });
  request.open("PUT", `api/upload?name=${encodeURIComponent(file.name)}`);
  request.send(file);
  openFilm(done.finally(() => ((bar.hidden = true), (bar.value = 0), ($("file").value = ""))));
}

// --- what should go ------------------------------------------------------------------------------

// What is clicked while earlier clicks are on their way is sent after them.
async function setPoints(points) {
  const isSending = pending !== null;
  film.points = pending = points;
  show(film);
  if (isSending) return;
  for (let sent = null; pending && sent !== pending; ) {
    sent = pending;
    if (await act("PUT", "points", { points: sent })) continue;
    pending = null;
    act("GET", ""); // the points as they are there
    return;
  }
  pending = null;
  stage.draw();
}

function addPoint(point) {
  if (film.what !== "points") {
    report("All people are marked. To point at something, choose “What I click on” first.");
    return;
  }
  const keeps = point.keeps || (clicksKeep && !point.width);
  const own = film.points.filter((point) => point.object === chosen);
  if (keeps && !own.length && !film.isFollowed) {
    report("First click on what should go, then on what is not part of it.");
    return;
  }
  setPoints([...film.points, { ...point, object: chosen, frame: stage.number, keeps }]);
}

function showPoints() {
  const here = film.points.filter((point) => point.frame === stage.number && film.what === "points");
  const marks = [];
  for (const point of here) {
    if (point.width) {
      const frame = document.createElement("i");
      place(frame, point, film);
      frame.style.borderColor = COLOURS[point.object - 1];
      marks.push(frame);
    }
    const dot = document.createElement("button");
    dot.type = "button";
    dot.className = point.keeps ? "keeps" : "";
    dot.textContent = point.width ? "×" : point.keeps ? "−" : "+";
    dot.title = "Press to take it back";
    place(dot, { x: point.x, y: point.y }, film);
    dot.style.background = COLOURS[point.object - 1];
    dot.addEventListener("click", () => setPoints(film.points.filter((other) => other !== point)));
    marks.push(dot);
  }
  $("dots").replaceChildren(...marks);
  $("ticks").replaceChildren(
    ...film.points.map((point) => {
      const tick = document.createElement("i");
      tick.style.left = `${(point.frame / Math.max(1, film.frames - 1)) * 100}%`;
      tick.style.background = COLOURS[point.object - 1];
      return tick;
    }),
  );
}

function showObjects() {
  numObjects = Math.max(numObjects, ...film.points.map((point) => point.object));
  const buttons = [];
  for (let number = 1; number <= numObjects; number++) {
    const button = document.createElement("button");
    button.type = "button";
    const colour = document.createElement("i");
    colour.style.background = COLOURS[number - 1];
    button.append(colour, `Object ${number}`);
    button.setAttribute("aria-pressed", number === chosen);
    button.addEventListener("click", () => ((chosen = number), showObjects()));
    buttons.push(button);
  }
  if (numObjects < COLOURS.length && film.points.some((point) => point.object === numObjects)) {
    const more = document.createElement("button");
    more.type = "button";
    more.textContent = "+ Another";
    more.addEventListener("click", () => ((chosen = ++numObjects), showObjects()));
    buttons.push(more);
  }
  $("objects").replaceChildren(...buttons);
}

function hint() {
  if (stage.view === "compare") return "Drag the line. Left of it is the film as it was.";
  if (film.what === "people") return "Whoever is found is marked. Look through the film, then press Remove.";
  if (!film.points.length) return "Click on what should go, or draw a box around it.";
  if (film.isFollowedAsPointed)
    return "Play it. Where the mask is wrong, stop, click again, and follow again. If it is right: Remove.";
  if (film.isFollowed) return "Follow again, and the correction goes through the film.";
  return "Too little marked? Click again. Too much? Click there with “− Not part of it”, or the right button.";
}

// --- jobs ----------------------------------------------------------------------------------------

function about(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function showJob() {
  const { job } = film;
  for (const box of document.querySelectorAll(".job")) {
    const isIts = job && box.dataset.kind === job.kind;
    box.hidden = !isIts || !["running", "failed"].includes(job.status);
    if (box.hidden) continue;
    box.classList.toggle("failed", job.status === "failed");
    const text = document.createElement("span");
    if (job.status === "failed") {
      text.textContent = `That didn't work: ${job.message}`;
      box.replaceChildren(text);
      continue;
    }
    const bar = document.createElement("progress");
    if (job.done) [bar.max, bar.value] = [job.total, job.done];
    const cancel = document.createElement("button");
    cancel.type = "button";
    cancel.textContent = "Cancel";
    cancel.addEventListener("click", () => ((cancel.disabled = true), act("POST", "cancel")));
    const left = job.seconds_left === null ? "" : `, about ${about(job.seconds_left)} left`;
    const percent = job.done ? ` ${Math.floor((100 * job.done) / job.total)} %${left}` : "…";
    text.textContent = WORDS[job.kind][0] + percent;
    box.replaceChildren(bar, cancel, text);
  }
}

async function lookAtJob() {
  if (isLooking) return;
  isLooking = true;
  while (film?.job?.status === "running") {
    const { kind } = film.job;
    await new Promise((resolve) => setTimeout(resolve, BETWEEN_LOOKS));
    if (!(await act("GET", ""))) break;
    if (film.job?.status === "done" && kind === "remove") stage.show("compare");
    else if (film.job?.status !== "running") stage.draw();
  }
  isLooking = false;
}

// --- all of it -----------------------------------------------------------------------------------

function show(next) {
  const isNew = film?.number !== next.number;
  if (isNew) pending = null;
  film = state.film = pending ? { ...next, points: pending } : next;
  if (isNew) showWidths();
  stage.open(film);
  const isRunning = film.job?.status === "running";
  for (const radio of document.querySelectorAll("input[name=what]")) {
    radio.checked = radio.value === film.what;
    radio.disabled = isRunning;
  }
  const isPointing = film.what === "points";
  $("pointing").hidden = !isPointing;
  $("undo").disabled = $("clear").disabled = !film.points.length || isRunning;
  const isPointed = film.points.some((point) => !point.keeps);
  $("follow").disabled = !isPointed || isRunning || film.isFollowedAsPointed;
  $("follow").textContent = film.isFollowedAsPointed
    ? "Followed through the film ✓"
    : film.isFollowed
      ? "Follow again"
      : "Follow through the film";
  const isReady = !isPointing || (film.isFollowedAsPointed && isPointed);
  $("remove").disabled = !isReady || isRunning;
  $("step-remove").classList.toggle("waits", !isReady);
  $("step-result").classList.toggle("waits", !film.hasResult);
  $("no-result").hidden = film.hasResult;
  $("has-result").hidden = $("views").hidden = !film.hasResult;
  $("download").href = `api/film/${film.number}/download`;
  if (!film.hasResult && stage.view === "compare") stage.show("marks");
  showObjects();
  showJob();
  refresh();
  if (isRunning) lookAtJob();
}

function refresh() {
  if (!film) return;
  showPoints();
  $("hint").textContent = hint();
}

function showWidths() {
  $("width").replaceChildren(new Option(`Full size (${film.width})`, ""));
  for (const width of state.widths.filter((each) => each < film.width).reverse())
    $("width").add(new Option(`${width} wide`, width));
}

const stage = new Stage({ report, point: addPoint, changed: refresh });

$("error").lastElementChild.addEventListener("click", () => report(""));
$("other").addEventListener("click", () => choosing($("choose").hidden));
$("file").addEventListener("change", () => upload($("file").files[0]));
for (const kind of ["dragover", "dragleave", "drop"])
  $("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") upload(event.dataTransfer.files[0]);
  });
for (const radio of document.querySelectorAll("input[name=what]"))
  radio.addEventListener("change", async () => {
    if (await act("PUT", "what", { what: radio.value })) stage.show("marks");
  });
for (const button of document.querySelectorAll("[data-keeps]"))
  button.addEventListener("click", () => {
    clicksKeep = button.dataset.keeps !== "";
    for (const other of document.querySelectorAll("[data-keeps]"))
      other.setAttribute("aria-pressed", other === button);
  });
for (const button of document.querySelectorAll("#views button"))
  button.addEventListener("click", () => stage.show(button.dataset.view));
$("undo").addEventListener("click", () => setPoints(film.points.slice(0, -1)));
$("clear").addEventListener("click", () => setPoints([]));
$("follow").addEventListener("click", () => (stage.show("marks"), act("POST", "follow")));
$("remove").addEventListener("click", () =>
  act("POST", "remove", {
    maxWidth: $("width").value ? Number($("width").value) : null,
    lookAhead: $("ahead").value,
    margin: Number($("margin").value),
    model: $("model").value,
  }),
);

ask("GET", "api/state").then(showState, (error) => report(error.message));
