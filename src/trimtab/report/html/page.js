// Draws what views.Page says. Everything here is numbers and labels of our own; text from data is set as text, never as HTML.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const STATE = "trimtab:" + location.pathname;
  const LOOK_EVERY_MS = 5000;
  const GIVE_UP_AFTER = 6; // looks without an answer: then the page is loaded anew, seen or not
  const SILENT_S = 600; // no newer page for so long, and the run may have died
  const MOST_SHOWN = 12; // curves at first: more are a tangle

  // ── what a reader has set, kept over a reload ────────────────────────────────────────────────────────────────
  const OF = JSON.stringify([document.title, data.search ? [] : data.runs.map((run) => run.name)]); // another report may come to the same path
  const state = { of: OF, zoom: {}, log: {}, off: {}, open: {}, paused: false, y: null };
  try {
    const stored = JSON.parse(sessionStorage.getItem(STATE) || "{}");
    if (stored.of === OF) Object.assign(state, stored);
  } catch { /* a browser that keeps nothing: the page begins as it is */ }
  const keep = () => {
    state.y = window.scrollY;
    try { sessionStorage.setItem(STATE, JSON.stringify(state)); } catch { /* as above */ }
  };

  const make = (name, attributes = {}, text) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const color = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();
  const WHEEL = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#7a5195", "#999999", "#c23b22"];
  const ROUNDS = [["solid", undefined], ["dashed", [8, 4]], ["dotted", [2, 4]], ["double", [12, 3, 2, 3]]];
  // Of the colours: after nine of them the lines are drawn otherwise.
  const look = (number) => {
    const [style, dash] = ROUNDS[Math.floor(number / WHEEL.length) % ROUNDS.length];
    return { color: WHEEL[number % WHEEL.length], style, dash };
  };
  // Okabe & Ito's colours, told apart by colour-blind eyes; yellow is darker here, to be seen on white.

  const clock = (moment) => moment.toLocaleTimeString("en-GB");

  // ── numbers as people read them ──────────────────────────────────────────────────────────────────────────────
  const plain = (value) => {
    if (value === null || value === undefined || !isFinite(value)) return "–";
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(2);
    if (size >= 1000) return value.toLocaleString("en", { maximumFractionDigits: 0 });
    return String(Number(value.toPrecision(4)));
  };
  const bytes = (value) =>
    value === null || value === undefined ? "–" : value >= 2 ** 30 ? (value / 2 ** 30).toFixed(2) + " GiB" : (value / 2 ** 20).toFixed(1) + " MiB";
  const FORMATS = { memory_bytes: bytes };
  const short = (value) =>
    value >= 2 ** 30 ? Number((value / 2 ** 30).toPrecision(3)) + " GiB" : Math.round(value / 2 ** 20) + " MiB";
  const step = (value) => value.toLocaleString("en");

  // ── charts ───────────────────────────────────────────────────────────────────────────────────────────────────
  const groups = new Map(); // charts whose zoom and cursors go together
  let isZooming = false;

  function zoomed(group, min, max) {
    if (isZooming) return;
    isZooming = true;
    const charts = groups.get(group) || [];
    const whole = charts.length && min <= charts[0].span[0] && max >= charts[0].span[1];
    if (whole) delete state.zoom[group];
    else state.zoom[group] = [min, max];
    for (const chart of charts) {
      const { min: low, max: high } = chart.plot.scales.x;
      if (low !== min || high !== max) chart.plot.setScale("x", { min, max });
      chart.host.dataset.zoom = whole ? "" : `${min},${max}`;
    }
    isZooming = false;
  }

  // Where a log axis is marked: at tens; at ones, twos and fives where it spans less than three of them.
  function decades(u, axis, min, max) {
    const [from, to] = [Math.floor(Math.log10(min)), Math.ceil(Math.log10(max))];
    const found = [];
    for (let power = from; power <= to; power += 1) {
      for (const lead of to - from > 3 ? [1] : [1, 2, 5]) {
        const value = Number(`${lead}e${power}`);
        if (value >= min && value <= max) found.push(value);
      }
    }
    return found;
  }

  class Chart {
    // spec: id, group, label, height, table, series [{key, label, color, width, dash, style, points, band}], bands,
    //       lines, marks, epochs, format, log (its default), span, told (the id of a table of its numbers)
    constructor(host, spec) {
      this.host = host;
      this.spec = spec;
      this.span = spec.span;
      this.isLog = state.log[spec.id] ?? spec.log ?? false;
      host.classList.add("chart");
      host.tabIndex = 0;
      host.setAttribute("role", "group");
      host.setAttribute(
        "aria-label",
        `${spec.label}. A chart: arrow keys go from point to point, plus and minus zoom, 0 shows all.${document.getElementById(spec.told) ? " Its numbers are in a table below." : ""}`,
      );
      this.readout = make("p", { class: "readout", "aria-live": "off" });
      this.tip = make("div", { class: "tip", hidden: "" });
      host.after(this.readout);
      host.addEventListener("keydown", (event) => this.keyed(event));
      if (!groups.has(spec.group)) groups.set(spec.group, []);
      groups.get(spec.group).push(this);
      this.build();
      new ResizeObserver(() => this.resized()).observe(host);
    }

    get off() { return (state.off[this.spec.id] ??= {}); }
    get width() { return Math.max(120, this.host.clientWidth); }
    get height() { return this.width < 480 ? Math.min(this.spec.height, 250) : this.spec.height; }

    resized() {
      if (this.plot && this.host.clientWidth && this.plot.width !== this.width) this.plot.setSize({ width: this.width, height: this.height });
    }

    // What a reader had zoomed to, as far as there is something.
    get shown() {
      const [low, high] = this.span, kept = state.zoom[this.spec.group];
      const [min, max] = Array.isArray(kept) ? [Math.max(low, kept[0]), Math.min(high, kept[1])] : this.span;
      return max > min ? [min, max] : this.span;
    }

    build() {
      this.plot?.destroy();
      const { spec } = this;
      const format = spec.format || plain;
      const [ink, faint, grid] = [color("ink"), color("faint"), color("grid")];
      const axis = { stroke: faint, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 }, font: "12px system-ui, sans-serif" };
      // On a log scale what is not above zero has no place.
      const table = this.isLog ? spec.table.map((column, at) => (at ? column.map((v) => (v == null || v > 0 ? v : null)) : column)) : spec.table;
      const [from, to] = this.shown;
      this.plot = new uPlot(
        {
          width: this.width,
          height: this.height,
          scales: {
            x: { time: false, range: (u, min, max) => (min === null ? spec.span : [min, max]) },
            y: this.isLog ? { distr: 3 } : { range: (u, min, max) => this.ranged(min, max) },
          },
          axes: [
            { ...axis, size: 32, values: (u, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? step(tick) : "")) },
            { ...axis, size: 68, ...(this.isLog ? { splits: decades } : {}), values: (u, ticks) => ticks.map((tick) => (tick === null ? "" : format === bytes ? short(tick) : format(tick))) },
          ],
          series: [
            { label: "step" },
            ...spec.series.map((series) => ({
              label: series.label,
              show: !this.off[series.key],
              stroke: series.band ? "transparent" : series.color.startsWith("#") ? series.color : color(series.color),
              width: series.width ?? 1.5,
              dash: series.dash,
              points: { show: series.points ?? false, size: 6, fill: series.color.startsWith("#") ? series.color : color(series.color) },
              spanGaps: series.span ?? false,
            })),
          ],
          bands: (spec.bands || []).map(([high, low, fill]) => ({ series: [high, low], fill: color(fill) })),
          legend: { show: false },
          cursor: {
            sync: { key: spec.group, scales: ["x", null] },
            drag: { x: true, y: false, setScale: true },
            points: { size: 7 },
            focus: { prox: 1e6 },
          },
          hooks: {
            setScale: [(u, key) => { if (key === "x") zoomed(spec.group, u.scales.x.min, u.scales.x.max); }],
            setCursor: [(u) => this.told(u)],
            draw: [(u) => this.drawn(u, ink, faint)],
          },
        },
        table,
        this.host,
      );
      this.host.append(this.tip);
      this.plot.setScale("x", { min: from, max: to });
      this.host.dataset.scale = this.isLog ? "log" : "linear";
    }

    ranged(min, max) {
      const levels = (this.spec.lines || []).map((line) => line.value).filter((value) => value !== null);
      const low = Math.min(min ?? 0, ...levels), high = Math.max(max ?? 1, ...levels);
      if (low === high) return [low - Math.abs(low || 1) * 0.1, high + Math.abs(high || 1) * 0.1];
      return [low >= 0 && low < 0.5 * high ? 0 : low - 0.06 * (high - low), high + 0.06 * (high - low)];
    }

    // Epochs, levels, and what happened when.
    drawn(u, ink, faint) {
      const { ctx, bbox } = u, ratio = uPlot.pxRatio, { spec } = this;
      const inside = (x) => x >= u.scales.x.min && x <= u.scales.x.max;
      ctx.save();
      ctx.font = `${11 * ratio}px system-ui, sans-serif`;
      ctx.lineWidth = ratio;
      const rule = (x, style, dash) => {
        ctx.strokeStyle = style;
        ctx.setLineDash(dash.map((one) => one * ratio));
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
      };
      const wide = u.valToPos((spec.epochs || [])[0] ?? 0, "x", true) - u.valToPos(spec.span[0], "x", true) > 60 * ratio;
      (spec.epochs || []).forEach((end, number) => {
        if (!inside(end)) return;
        const x = u.valToPos(end, "x", true);
        rule(x, color("line"), [2, 3]);
        if (!wide || u.height < 200) return;
        ctx.fillStyle = faint;
        ctx.textAlign = "right";
        ctx.fillText(`epoch ${number + 1}`, x - 4 * ratio, bbox.top + 11 * ratio);
      });
      for (const line of spec.lines || []) {
        if (line.value === null) continue;
        const y = u.valToPos(line.value, "y", true);
        if (y < bbox.top || y > bbox.top + bbox.height) continue;
        ctx.strokeStyle = ctx.fillStyle = faint;
        ctx.setLineDash([6 * ratio, 4 * ratio]);
        ctx.beginPath();
        ctx.moveTo(bbox.left, y);
        ctx.lineTo(bbox.left + bbox.width, y);
        ctx.stroke();
        ctx.textAlign = "right";
        ctx.fillText(line.label, bbox.left + bbox.width - 4 * ratio, y - 4 * ratio);
      }
      let row = 0, before = -1e9;
      for (const mark of spec.marks || []) {
        if (!inside(mark.step)) continue;
        const x = u.valToPos(mark.step, "x", true), look = MARKS[mark.kind] || MARKS.symptom;
        if (mark.kind === "checkpoint") {
          ctx.fillStyle = faint;
          ctx.textAlign = "center";
          ctx.fillText("▴", x, bbox.top + bbox.height - 1 * ratio);
          continue;
        }
        rule(x, color(look.color), mark.kind === "best" ? [1, 3] : [4, 3]);
        row = x - before < 15 * ratio ? (row + 1) % 5 : 0;
        before = x;
        ctx.fillStyle = color(look.color);
        ctx.textAlign = "center";
        ctx.font = `bold ${13 * ratio}px system-ui, sans-serif`;
        ctx.fillText(look.sign, x, bbox.top + (26 + 14 * row) * ratio);
      }
      ctx.restore();
    }

    // What stands at the cursor: in the tip for eyes, in the line below for everybody.
    told(u) {
      const at = u.cursor.idx;
      if (at === null || at === undefined || u.cursor.left < 0) {
        this.tip.hidden = true;
        return;
      }
      const { spec } = this, format = spec.format || plain, x = u.data[0][at];
      const lines = [[null, `step ${step(x)}`]];
      spec.series.forEach((series, number) => {
        if (series.band || this.off[series.key] || series.quiet) return;
        let from = at;
        if (series.last) while (from > 0 && u.data[number + 1][from] == null) from -= 1;
        const value = u.data[number + 1][from];
        if (value === null || value === undefined) return;
        lines.push([series.color, `${series.label} ${format(value)}${from !== at ? ` (step ${step(u.data[0][from])})` : ""}`]);
      });
      const near = (spec.marks || []).filter((mark) => Math.abs(u.valToPos(mark.step, "x") - u.cursor.left) < 6).slice(0, 4);
      for (const mark of near) lines.push([null, `${(MARKS[mark.kind] || MARKS.symptom).sign} ${mark.kind}, step ${step(mark.step)}: ${mark.text}`]);
      const say = lines.map(([, text]) => text).join(" · ");
      if (this.readout.textContent !== say) this.readout.textContent = say;
      if (document.activeElement !== this.host && !this.host.matches(":hover")) {
        this.tip.hidden = true; // another chart's cursor: the line below tells it
        return;
      }
      this.tip.replaceChildren(...lines.map(([stroke, text]) => {
        const line = make("div", {}, text);
        if (stroke) line.style.borderInlineStart = `4px solid ${stroke.startsWith("#") ? stroke : color(stroke)}`;
        if (stroke) line.style.paddingInlineStart = "0.35rem";
        return line;
      }));
      this.tip.hidden = false;
      const left = u.over.offsetLeft + u.cursor.left;
      const turns = left > this.host.clientWidth / 2;
      this.tip.style.left = turns ? "auto" : `${left + 14}px`;
      this.tip.style.right = turns ? `${this.host.clientWidth - left + 14}px` : "auto";
      this.tip.style.top = `${u.over.offsetTop + 8}px`;
    }

    keyed(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return undefined; // the browser's own: its zoom, its way back
      const u = this.plot, xs = u.data[0], { min, max } = u.scales.x;
      const far = event.shiftKey ? 10 : 1;
      let at = u.cursor.idx ?? 0;
      const seen = (index) => xs[index] >= min && xs[index] <= max;
      if (event.key === "ArrowRight") at = Math.min(xs.length - 1, at + far);
      else if (event.key === "ArrowLeft") at = Math.max(0, at - far);
      else if (event.key === "Home") at = xs.findIndex((x) => x >= min);
      else if (event.key === "End") at = xs.findLastIndex((x) => x <= max);
      else if (event.key === "+" || event.key === "=") return this.zoom(0.5, event);
      else if (event.key === "-") return this.zoom(2, event);
      else if (event.key === "0" || event.key === "Escape") return this.zoom(null, event);
      else return undefined;
      event.preventDefault();
      this.readout.setAttribute("aria-live", "polite");
      if (!seen(at)) at = Math.max(0, xs.findIndex((x) => x >= min));
      u.setCursor({ left: u.valToPos(xs[at], "x"), top: u.over.clientHeight / 2 });
      return undefined;
    }

    zoom(by, event) {
      event?.preventDefault();
      const { min, max } = this.plot.scales.x, [low, high] = this.span;
      if (by === null) return this.plot.setScale("x", { min: low, max: high });
      const middle = this.plot.cursor.left >= 0 && this.plot.cursor.idx !== null ? this.plot.data[0][this.plot.cursor.idx] : (min + max) / 2;
      const half = Math.max(1, ((max - min) * by) / 2);
      const from = Math.max(low, Math.min(middle - half, high - 2 * half));
      return this.plot.setScale("x", { min: from, max: Math.min(high, from + 2 * half) });
    }

    // Log or linear; of a leading chart also zoom, and which lines are shown.
    tools(hasKeys = true) {
      const bar = make("div", { class: "tools", role: "toolbar", "aria-label": `${this.spec.label}: how it is drawn` });
      const button = (text, act, pressed) => {
        const made = make("button", { type: "button" }, text);
        if (pressed !== undefined) made.setAttribute("aria-pressed", String(pressed));
        made.addEventListener("click", () => act(made));
        bar.append(made);
        return made;
      };
      button("log", (made) => {
        this.isLog = !this.isLog;
        state.log[this.spec.id] = this.isLog;
        made.setAttribute("aria-pressed", String(this.isLog));
        this.build();
      }, this.isLog);
      if (hasKeys) {
        button("zoom in", () => this.zoom(0.5));
        button("zoom out", () => this.zoom(2));
        button("all", () => this.zoom(null));
        const shown = new Set();
        this.spec.series.forEach((series) => {
          if (shown.has(series.key)) return;
          shown.add(series.key);
          const label = make("label"), box = make("input", { type: "checkbox", "data-series": series.key });
          box.checked = !this.off[series.key];
          box.addEventListener("change", () => {
            this.off[series.key] = !box.checked;
            this.spec.series.forEach((one, number) => {
              if (one.key === series.key) this.plot.setSeries(number + 1, { show: box.checked });
            });
          });
          const key = make("span", { class: series.band ? "key band" : "key" });
          if (series.band) key.style.background = color(series.color);
          else key.style.borderTopColor = series.color.startsWith("#") ? series.color : color(series.color);
          key.style.borderTopStyle = series.style ?? (series.dash ? "dashed" : "solid");
          label.append(box, key, document.createTextNode(series.name || series.label));
          bar.append(label);
        });
      }
      this.host.before(bar);
    }
  }

  const MARKS = {
    symptom: { sign: "!", color: "warning" },
    diagnosis: { sign: "?", color: "warning" },
    repair: { sign: "R", color: "good" },
    amendment: { sign: "A", color: "neutral" },
    checkpoint: { sign: "▴", color: "faint" },
    best: { sign: "★", color: "good" },
    resumed: { sign: "▸", color: "neutral" },
    stopped: { sign: "■", color: "neutral" },
    "not a number": { sign: "×", color: "bad" },
  };

  const span = (columns, ...more) => {
    const all = [columns.step, ...more].flatMap((steps) => (steps.length ? [steps[0], steps[steps.length - 1]] : []));
    const low = Math.min(...all), high = Math.max(...all);
    return all.length ? [low, high > low ? high : low + 1] : [0, 1];
  };
  const biggest = (values) => values.reduce((most, one) => (one !== null && one > most ? one : most), -Infinity);
  const explodes = (losses) => {
    const first = losses.find((loss) => loss !== null);
    return first !== undefined && first > 0 && biggest(losses) > 8 * first;
  };

  function drawRun(run, number) {
    const host = document.querySelector(`[data-loss="${number}"]`);
    if (!host || host.dataset.drawn) return;
    host.dataset.drawn = "yes";
    const { curve } = run, { columns } = curve, values = columns.values;
    const reach = span(columns, curve.eval_step, run.is_live && curve.planned_steps ? [curve.planned_steps] : []);
    const smooth = values.smoothed || [];
    const [low, high] = curve.healthy_gap;
    const lift = (by) => smooth.map((loss) => (loss === null ? null : loss + by));
    const tables = [[columns.step, values.loss || columns.step.map(() => null), smooth, lift(high), lift(low)]];
    if (!smooth.length) tables[0] = [columns.step, ...Array(4).fill(columns.step.map(() => null))];
    const series = [
      { key: "raw", label: "training", name: "training, each step", color: "raw", width: 1 },
      { key: "train", label: "smoothed", name: "training, smoothed", color: "train", width: 2 },
      { key: "band", label: "", name: `healthy gap (${low} to ${high} above training)`, color: "band", band: true },
      { key: "band", label: "", color: "band", band: true },
    ];
    if (curve.eval_step.length) {
      tables.push([curve.eval_step, curve.eval_loss]);
      series.push({ key: "eval", label: "validation", color: "eval", width: 2, points: curve.eval_step.length <= 200, last: true });
    }
    curve.abandoned.forEach((stretch) => {
      tables.push([stretch.step, stretch.loss]);
      series.push({ key: "undone", label: "undone", name: "undone by a repair", color: "undone", width: 1.5, dash: [4, 3] });
    });
    const id = `loss-${number}`;
    const chart = new Chart(host, {
      id, group: `run-${number}`, label: `Loss of ${run.name}`, height: 360, table: uPlot.join(tables), series, span: reach,
      told: `evals-${number}`, bands: [[3, 4, "band"]], lines: curve.base_loss === null ? [] : [{ label: "base", value: curve.base_loss }],
      marks: curve.marks, epochs: curve.epoch_ends, log: explodes(values.loss || []),
    });
    chart.tools();
    run.gauges.forEach((gauge) => {
      const place = document.querySelector(`[data-gauge="${number}-${gauge.name}"]`);
      if (!place) return;
      const made = new Chart(place, {
        id: `${gauge.name}-${number}`, group: `run-${number}`, label: gauge.title, height: 170, span: reach,
        table: [columns.step, values[gauge.name]],
        series: [{ key: gauge.name, label: gauge.title.toLowerCase(), color: "train", width: 1.2 }], told: `numbers-${number}`,
        lines: gauge.lines, log: gauge.is_log, format: FORMATS[gauge.name], epochs: curve.epoch_ends,
      });
      made.tools(false);
    });
    run.repairs.forEach((repair, at) => {
      const place = document.querySelector(`[data-repair="${number}-${at}"]`);
      if (!place || !repair.after.step.length) return;
      const parts = [[repair.after.step, repair.after.loss]];
      const drawnSeries = [{ key: "after", label: "after", name: "after the repair", color: "good", width: 2, points: true }];
      if (repair.before) {
        parts.push([repair.before.step, repair.before.loss]);
        drawnSeries.push({ key: "before", label: "before", name: "before, undone", color: "bad", width: 2, dash: [5, 3], points: true });
      }
      const joined = uPlot.join(parts);
      new Chart(place, {
        id: `repair-${number}-${at}`, group: `repair-${number}-${at}`, label: `Repair ${at + 1}: loss before and after`, height: 200,
        table: joined, series: drawnSeries, span: span({ step: joined[0] }), log: explodes(joined.slice(1).flat().filter((loss) => loss != null)),
      }).tools();
    });
  }

  // To rank runs for drawing: validated ones first, by their lowest loss; then by the training loss they came to.
  function reached({ columns, eval_loss }) {
    const lowest = Math.min(...eval_loss.filter((loss) => loss !== null));
    if (isFinite(lowest)) return [0, lowest];
    const last = (columns.values.smoothed || []).findLast((loss) => loss !== null);
    return last === undefined ? [2, 0] : [1, last];
  }

  function drawComparison() {
    const host = document.querySelector("[data-comparison]");
    if (!host) return;
    const tables = [], series = [];
    data.runs.forEach((run, number) => {
      const { columns, eval_step, eval_loss } = run.curve, { color: stroke, style, dash } = look(number);
      if (columns.values.smoothed) {
        tables.push([columns.step, columns.values.smoothed]);
        series.push({ key: `run-${number}`, label: `${run.name}, training`, name: run.name, color: stroke, style, width: 1, dash: [3, 3], span: true });
      }
      if (eval_step.length) {
        tables.push([eval_step, eval_loss]);
        series.push({ key: `run-${number}`, label: `${run.name}, validation`, name: run.name, color: stroke, style, width: 2.2, dash, points: eval_step.length <= 100, last: true, span: true });
      }
    });
    if (!tables.length) return;
    if (data.runs.length > MOST_SHOWN) {
      const ranked = data.runs.map((run, number) => [number, reached(run.curve)]).sort(([, one], [, other]) => one[0] - other[0] || one[1] - other[1]);
      state.off.comparison ??= Object.fromEntries(ranked.slice(MOST_SHOWN).map(([number]) => [`run-${number}`, true]));
      host.after(make("p", { class: "faint" }, `Of ${data.runs.length} runs the ${MOST_SHOWN} with the lowest losses are drawn at first; the boxes above add the others.`));
    }
    const joined = uPlot.join(tables);
    const losses = joined.slice(1).flat().filter((loss) => loss != null);
    new Chart(host, { id: "comparison", group: "comparison", label: "Losses of all runs", height: 380, table: joined, series, span: span({ step: joined[0] }), log: explodes(losses) }).tools();
  }

  function drawSearch() {
    const host = document.querySelector("[data-search]");
    if (!host || !data.search || !data.search.curves.length) return;
    const tables = [], series = [];
    data.search.curves.forEach((curve, number) => {
      const { color: stroke, style, dash } = look(number), name = `${curve.trial}: ${curve.label}${curve.is_best ? " ★" : ""}${curve.is_lost ? " (lost)" : ""}`;
      tables.push([curve.step, curve.smoothed]);
      series.push({ key: curve.trial, label: `${curve.label}, training`, name, color: stroke, style, width: curve.is_best ? 2.6 : 1.2, dash, span: true });
      if (curve.eval_step.length) {
        tables.push([curve.eval_step, curve.eval_loss]);
        series.push({ key: curve.trial, label: `${curve.label}, validation`, name, color: stroke, style, width: curve.is_best ? 2.6 : 1.2, dash, points: true, last: true, span: true, quiet: true });
      }
    });
    const joined = uPlot.join(tables);
    const losses = joined.slice(1).flat().filter((loss) => loss != null);
    new Chart(host, {
      id: "search", group: "search", label: "Losses of all trials", height: 380, table: joined, series, span: span({ step: joined[0] }),
      lines: data.search.base_loss === null ? [] : [{ label: "base", value: data.search.base_loss }], log: explodes(losses),
    }).tools();
  }

  function redraw() {
    for (const charts of groups.values()) for (const chart of charts) chart.build();
  }

  // ── the page ─────────────────────────────────────────────────────────────────────────────────────────────────
  const began = performance.now();
  const drawWithin = (details) => {
    if (details.open && details.dataset.run !== undefined) drawRun(data.runs[details.dataset.run], details.dataset.run);
  };
  const forPrint = []; // what printing opened: it is closed again, and is nothing that a reader has set
  const asSet = new Map(); // what each was when nothing was printed; toggle events come late
  document.querySelectorAll("details[id]").forEach((details) => {
    if (details.id in state.open) details.open = state.open[details.id];
    asSet.set(details, details.open);
    details.addEventListener("toggle", () => {
      drawWithin(details);
      if (forPrint.includes(details) || details.open === asSet.get(details)) return;
      asSet.set(details, details.open);
      state.open[details.id] = details.open;
    });
  });
  drawSearch();
  drawComparison();
  data.runs.forEach((run, number) => {
    const within = document.getElementById(`run-${number}`);
    if (!(within instanceof HTMLDetailsElement) || within.open) drawRun(run, number);
  });
  if (state.y !== null) window.scrollTo(0, state.y);
  root.dataset.drawn = String(Math.round(performance.now() - began));

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  matchMedia("print").addEventListener("change", redraw);
  window.addEventListener("beforeprint", () => {
    root.dataset.print = "yes"; // paper is light; the charts are drawn for it now, as it waits for no event
    redraw();
    document.querySelectorAll("main details:not([open])").forEach((details) => {
      forPrint.push(details);
      details.open = true;
      drawWithin(details);
    });
  });
  window.addEventListener("afterprint", () => {
    delete root.dataset.print;
    forPrint.splice(0).forEach((details) => (details.open = false));
    redraw();
  });
  window.addEventListener("pagehide", keep);

  // ── a run that goes on ───────────────────────────────────────────────────────────────────────────────────────
  const live = document.querySelector(".live");
  if (live && root.dataset.live === "yes") {
    const told = make("span", { class: "faint" }), pause = make("button", { type: "button" });
    const name = () => (pause.textContent = state.paused ? "Go on updating" : "Pause updates");
    pause.addEventListener("click", () => { state.paused = !state.paused; name(); });
    name();
    live.append(told, pause);
    const written = new Date(Number(root.dataset.written) * 1000);
    let frame = null, unanswered = 0, looks = 0;
    told.textContent = `updated ${clock(written)}`;
    const renew = () => { keep(); location.reload(); };
    window.addEventListener("message", (event) => {
      if (!frame || event.source !== frame.contentWindow || typeof event.data?.trimtab !== "string") return;
      unanswered = 0;
      frame.remove();
      frame = null;
      if (event.data.trimtab !== root.dataset.written && !state.paused) renew();
    });
    setInterval(() => {
      if (state.paused || document.hidden) return;
      looks += 1;
      if (looks > 1 && Date.now() - written > SILENT_S * 1000) {
        told.textContent = `no news since ${clock(written)}: the run may have died; "trimtab report" tells`;
        live.classList.add("silent");
      }
      if (frame) {
        frame.remove();
        frame = null;
        unanswered += 1;
        if (unanswered >= GIVE_UP_AFTER) return renew();
      }
      frame = make("iframe", { class: "unseen", title: "looks for a newer page", "aria-hidden": "true", tabindex: "-1" });
      frame.src = location.pathname + location.search + "#written";
      document.body.append(frame);
    }, Number(new URLSearchParams(location.search).get("look") || LOOK_EVERY_MS));
  }
})();
