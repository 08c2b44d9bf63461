// The film on the page: any frame, played or not, with its marks, or before and after.

const $ = (id) => document.getElementById(id);

// Lay an element over a box of the film's pixels.
export function place(element, { x, y, width = 0, height = 0 }, film) {
  const percent = (value, all) => `${(100 * value) / all}%`;
  element.style.left = percent(x, film.width);
  element.style.top = percent(y, film.height);
  element.style.width = width ? percent(width, film.width) : "";
  element.style.height = height ? percent(height, film.height) : "";
}

export class Stage {
  // report: takes a line about what failed. point: called with a
  // click or a box, in the film's pixels, as the server has them but for the frame and the object. changed: called
  // when another frame or view is wanted.
  constructor({ report, point, changed }) {
    this.report = report;
    this.changed = changed;
    this.film = null;
    this.number = 0;
    this.view = "marks";
    this.split = 0.5;
    this.isDrawing = this.isOutdated = this.isPlaying = this.hasDrawn = false;
    this.screen = $("screen");
    this.listen(point);
  }

  listen(point) {
    const at = (event) => {
      const box = this.screen.getBoundingClientRect();
      const share = (value) => Math.min(Math.max(value, 0), 0.9999);
      const x = share((event.clientX - box.left) / box.width);
      return [x * this.film.width, share((event.clientY - box.top) / box.height) * this.film.height, x];
    };
    const click = (event, keeps) => {
      event.preventDefault();
      if (this.view !== "marks") return;
      this.pause();
      const [x, y] = at(event);
      point({ x, y, keeps });
    };
    this.listenForBoxes(at, point);
    $("picture").addEventListener("click", (event) => {
      if (!this.hasDrawn) click(event, event.shiftKey);
      this.hasDrawn = false;
    });
    this.screen.addEventListener("contextmenu", (event) => click(event, true));
    const drag = (event) => this.view === "compare" && event.buttons && this.divide(at(event)[2]);
    this.screen.addEventListener("pointerdown", (event) => {
      if (this.view === "compare") this.screen.setPointerCapture(event.pointerId);
      drag(event);
    });
    this.screen.addEventListener("pointermove", drag);
    $("divider").addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
      if (step) this.divide(this.split + step), event.stopPropagation();
    });
    $("seek").addEventListener("input", () => (this.pause(), this.go(Number($("seek").value))));
    $("play").addEventListener("click", () => (this.isPlaying ? this.pause() : this.play()));
    $("back").addEventListener("click", () => (this.pause(), this.go(this.number - 1)));
    $("on").addEventListener("click", () => (this.pause(), this.go(this.number + 1)));
    addEventListener("resize", () => this.fit());
    document.addEventListener("keydown", (event) => {
      if (!this.film || event.target.matches("select, input:not([type=range])")) return;
      if (event.key === " " && !event.target.matches("button, a")) {
        event.preventDefault();
        this.isPlaying ? this.pause() : this.play();
      } else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
        event.preventDefault();
        this.pause();
        this.go(this.number + (event.key === "ArrowLeft" ? -1 : 1));
      }
    });
  }

  // A box is drawn with the mouse; fingers scroll.
  listenForBoxes(at, point) {
    let start = null;
    const box = (event) => {
      const [x, y] = at(event);
      const [left, top] = [Math.min(x, start[0]), Math.min(y, start[1])];
      return { x: left, y: top, width: Math.abs(x - start[0]), height: Math.abs(y - start[1]) };
    };
    const isLarge = (event) => start && Math.hypot(event.clientX - start[3], event.clientY - start[4]) > 8;
    $("picture").addEventListener("pointerdown", (event) => {
      this.hasDrawn = false;
      if (this.view !== "marks" || event.pointerType !== "mouse" || event.button) return;
      start = [...at(event), event.clientX, event.clientY];
      $("picture").setPointerCapture(event.pointerId);
    });
    $("picture").addEventListener("pointermove", (event) => {
      $("rubber").hidden = !isLarge(event);
      if (isLarge(event)) place($("rubber"), box(event), this.film);
    });
    $("picture").addEventListener("pointerup", (event) => {
      const drawn = isLarge(event) ? box(event) : null;
      [start, this.hasDrawn] = [null, drawn !== null];
      $("rubber").hidden = true;
      if (!drawn || drawn.width < 1 || drawn.height < 1) return;
      this.pause();
      point({ ...drawn, keeps: false });
    });
  }

  open(film) {
    const isNew = !this.film || this.film.number !== film.number;
    this.film = film;
    if (!isNew) return;
    this.pause();
    $("seek").max = film.frames - 1;
    for (const canvas of [$("picture"), $("after")]) [canvas.width, canvas.height] = film.shown;
    this.fit();
    this.show("marks");
    this.go(0);
  }

  // The largest size that fits, in the film's shape.
  fit() {
    if (!this.film) return;
    const [width, height] = this.film.shown;
    const isNarrow = matchMedia("(max-width: 60rem)").matches;
    const most = innerHeight * (isNarrow ? 0.45 : 0.72);
    const shown = Math.min($("stage").clientWidth, (most * width) / height);
    this.screen.style.width = `${shown}px`;
    this.screen.style.height = `${(shown * height) / width}px`;
  }

  show(view) {
    this.view = view;
    const compares = view === "compare";
    this.screen.classList.toggle("compares", compares);
    for (const id of ["after", "divider", "tag-before", "tag-after"]) $(id).hidden = !compares;
    $("dots").hidden = compares;
    for (const button of document.querySelectorAll("#views button"))
      button.setAttribute("aria-pressed", button.dataset.view === view);
    this.divide(this.split);
    this.changed();
    this.draw();
  }

  divide(split) {
    this.split = Math.min(Math.max(split, 0), 1);
    const percent = `${this.split * 100}%`;
    $("after").style.clipPath = `inset(0 0 0 ${percent})`;
    $("divider").style.left = percent;
    $("divider").setAttribute("aria-valuenow", Math.round(this.split * 100));
  }

  go(number) {
    this.number = Math.min(Math.max(number, 0), this.film.frames - 1);
    $("seek").value = this.number;
    const seconds = (frames) => {
      const all = frames / (this.film.fps || 25);
      return `${Math.floor(all / 60)}:${(all % 60).toFixed(1).padStart(4, "0")}`;
    };
    $("time").textContent = `${seconds(this.number)} / ${seconds(this.film.frames)}`;
    $("time").title = `frame ${this.number} of ${this.film.frames}`;
    this.changed();
    return this.draw();
  }

  async fetch(number, show) {
    const address = `api/film/${this.film.number}/frame/${number}?show=${show}`;
    const response = await fetch(address);
    if (!response.ok) throw new Error(await response.text());
    return createImageBitmap(await response.blob());
  }

  // Draw the frame that is wanted; while one is on its way no other is asked for but the last.
  async draw() {
    if (!this.film) return;
    if (this.isDrawing) {
      this.isOutdated = true;
      return;
    }
    this.isDrawing = true;
    const busy = setTimeout(() => ($("busy").hidden = false), 300);
    do {
      this.isOutdated = false;
      const shows = this.view === "compare" ? ["film", "result"] : ["marks"];
      const { number, film } = this;
      try {
        const pictures = await Promise.all(shows.map((show) => this.fetch(number, show)));
        if (film.number !== this.film.number) continue;
        const canvases = [$("picture"), $("after")];
        pictures.forEach((each, place) => {
          canvases[place].getContext("2d").drawImage(each, 0, 0);
          each.close();
        });
        this.screen.dataset.drawn = `${number} ${shows.join()}`;
      } catch (error) {
        this.pause();
        this.report(error.message);
      }
    } while (this.isOutdated);
    clearTimeout(busy);
    $("busy").hidden = true;
    this.isDrawing = false;
  }

  async play() {
    if (this.number >= this.film.frames - 1) this.number = 0;
    this.isPlaying = true;
    $("play").classList.add("plays");
    $("play").setAttribute("aria-label", "Pause");
    const first = this.number;
    const began = performance.now();
    while (this.isPlaying) {
      const passed = Math.floor(((performance.now() - began) / 1000) * (this.film.fps || 25));
      const wanted = first + passed;
      if (wanted !== this.number) await this.go(wanted);
      if (this.number >= this.film.frames - 1) this.pause();
      await new Promise(requestAnimationFrame);
    }
  }

  pause() {
    this.isPlaying = false;
    $("play").classList.remove("plays");
    $("play").setAttribute("aria-label", "Play");
  }
}
