"use strict";
// The player, the timeline, the transcript and the curves share one position in time.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { duration, labels, styles, segments, changes, people } = data;
  const sourceNames = Object.values(data.sources);
  const byId = (id) => document.getElementById(id);
  const player = byId("player");
  const rows = [...document.querySelectorAll("#rows button")];
  const moments = [...document.querySelectorAll(".moments button")];
  const starts = segments.map((segment) => segment.start);
  const LANE = 18, PERSON = 30, GAP = 6, TOP = 18, AXIS = 18; // pixels of the timeline, as in the style sheet
  const PLEASANT = ["happiness"], UNPLEASANT = ["sadness", "anger", "disgust", "fear", "contempt"];

  let position = 0; // seconds
  let current = -1; // index of the current segment
  let playable = Boolean(player);

  const clock = (seconds) => {
    const whole = Math.max(0, Math.floor(seconds)), two = (value) => String(value).padStart(2, "0");
    const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
    return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
  };
  const percent = (thousandths) => `${Math.round(thousandths / 10)}%`;
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  /** Return the index of the segment at a time; -1 between segments. */
  function segmentAt(seconds) {
    let low = 0, high = starts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (starts[middle] <= seconds + 0.01) low = middle + 1; else high = middle;
    }
    return low && seconds < segments[low - 1].end ? low - 1 : -1;
  }

  function seek(seconds) {
    position = Math.min(Math.max(seconds, 0), duration);
    if (playable) player.currentTime = position;
    show();
  }

  function show() {
    if (duration) {
      byId("head") && (byId("head").style.left = `${(100 * position) / duration}%`);
      moveCursor();
    }
    const found = segmentAt(position);
    if (found >= 0 && found !== current) choose(found);
    if (byId("where")) byId("where").textContent = `${clock(position)} of ${clock(duration)}`;
    describe();
  }

  /** Mark one segment as the current one. */
  function choose(number) {
    rows.forEach((row, n) => {
      row.parentElement.classList.toggle("current", n === number);
      row.ariaCurrent = n === number ? "true" : null;
      row.tabIndex = n === number ? 0 : -1;
    });
    current = number;
    const segment = segments[number];
    for (const moment of moments) {
      const inside = segment.start >= +moment.dataset.start - 0.01 && segment.end <= +moment.dataset.end + 0.01;
      moment.classList.toggle("current", inside);
    }
    const span = byId("span");
    if (span && duration) {
      span.style.left = `${(100 * segment.start) / duration}%`;
      span.style.width = `${(100 * (segment.end - segment.start)) / duration}%`;
    }
    reveal(rows[number]);
    tabulate(segment, changes[number]);
  }

  /** Scroll the transcript to a row, without scrolling the page. */
  function reveal(row) {
    const box = byId("rows");
    if (byId("follow") && !byId("follow").checked) return;
    if (box.scrollHeight > box.clientHeight) box.scrollTop = row.parentElement.offsetTop - box.clientHeight / 3;
  }

  function describe() {
    const track = byId("track");
    if (!track) return;
    const segment = segments[segmentAt(position)];
    const score = segment && segment.emotion >= 0 ? `, ${labels[segment.emotion]} ${percent(segment.scores[0][segment.emotion])}` : "";
    track.setAttribute("aria-valuenow", position.toFixed(2));
    track.setAttribute("aria-valuetext", `${clock(position)}${score}`);
  }

  /** Show one segment's scores: emotions by modality, and against the person's baseline. */
  function tabulate(segment, change) {
    const present = [0, 1, 2, 3].filter((source) => segment.scores[source]);
    const baseline = change && change[0];
    const heading = make("tr", {}, make("th", { scope: "col", textContent: "Emotion" }));
    for (const source of present) {
      const contribution = source ? `, contribution ${percent(segment.attention[source - 1])}` : "";
      heading.append(make("th", { scope: "col", textContent: sourceNames[source] + contribution }));
    }
    if (baseline) heading.append(make("th", { scope: "col", textContent: "vs. baseline" }));
    const body = make("tbody");
    labels.forEach((label, n) => {
      if (!present.some((source) => segment.scores[source][n] > 0)) return;
      const style = `e${styles[n][0]}`;
      const line = make("tr", { className: style }, make("th", { scope: "row" },
        make("span", { className: "chip" }, make("i", { className: "swatch" }), label)));
      for (const source of present) {
        const value = segment.scores[source][n], bar = make("i", { className: "swatch" });
        bar.style.width = `${value / 10}%`;
        const cell = make("div", { className: "meter" }, make("span", { className: "scale" }, bar), make("b", { textContent: percent(value) }));
        if (value === Math.max(...segment.scores[source])) cell.classList.add("best");
        line.append(make("td", {}, cell));
      }
      if (baseline) line.append(make("td", { textContent: baseline[n] === null ? "" : factor(baseline[n] / 100) }));
      body.append(line);
    });
    const when = duration ? `${clock(segment.start)}–${clock(segment.end)}` : "Written answer";
    const verdict = segment.emotion < 0 ? "no score"
      : labels[segment.emotion] + (segment.unsure ? ", unsure" : "") + (segment.conflict ? ", modalities in conflict" : "");
    const caption = make("caption", {}, make("b", { textContent: `${when}: ${verdict}` }), " ", rows[current].querySelector(".utterance").textContent);
    byId("now").replaceChildren(make("table", {}, caption, make("thead", {}, heading), body));
  }

  const factor = (logOdds) => (logOdds >= 0 ? `×${Math.exp(logOdds).toFixed(1)}` : `÷${Math.exp(-logOdds).toFixed(1)}`);

  // Transcript: the Tab key reaches one row; arrow keys move between rows.
  function listenToRows() {
    byId("rows").addEventListener("click", (event) => {
      const row = event.target.closest("button");
      if (row) goTo(+row.dataset.segment);
    });
    byId("rows").addEventListener("keydown", (event) => {
      const visible = rows.filter((row) => !row.parentElement.hidden);
      const at = visible.indexOf(document.activeElement);
      const target = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: visible.length - 1 }[event.key];
      if (target === undefined || !visible[target]) return;
      event.preventDefault();
      rows.forEach((row) => { row.tabIndex = -1; });
      visible[target].tabIndex = 0;
      visible[target].focus();
    });
    byId("filter").addEventListener("change", (event) => {
      const kind = event.target.value;
      for (const row of rows) {
        row.parentElement.hidden = kind !== "" && !row.parentElement.dataset.kinds.split(/\s+/).includes(kind);
      }
    });
    for (const moment of moments) moment.addEventListener("click", () => goTo(+moment.dataset.segment));
  }

  function goTo(number) {
    if (duration) seek(segments[number].start);
    choose(number);
  }

  // Player
  function listenToPlayer() {
    const follow = () => {
      position = player.currentTime;
      show();
      if (!player.paused && !player.ended) requestAnimationFrame(follow);
    };
    player.addEventListener("play", follow);
    player.addEventListener("timeupdate", () => { if (player.paused) follow(); });
    player.addEventListener("error", () => {
      playable = false;
      player.hidden = true;
      byId("unplayable").hidden = false;
    });
    if (player.error) player.dispatchEvent(new Event("error"));
  }

  // Timeline
  const source = () => +byId("source").value;

  /** Return the indices of the emotions that the chosen source has. */
  function lanesShown() {
    const chosen = source();
    return labels.map((_, n) => n).filter((n) => segments.some((segment) => segment.scores[chosen] && segment.scores[chosen][n] > 0));
  }

  function drawTimeline() {
    const track = byId("track"), canvas = byId("canvas"), shown = lanesShown(), chosen = source();
    const height = TOP + LANE * shown.length + GAP + LANE * 3 + (people.length > 1 ? GAP + PERSON * people.length : 0) + AXIS;
    const width = track.clientWidth, scale = Math.min(window.devicePixelRatio || 1, 2);
    canvas.width = width * scale;
    canvas.height = height * scale;
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const look = getComputedStyle(document.documentElement);
    const [ink, paper, faint, line] = ["--ink", "--paper", "--faint", "--line"].map((name) => look.getPropertyValue(name).trim());
    const x = (seconds) => (seconds / duration) * width;
    const bar = (segment, bottom, tall, colour) => {
      const left = x(segment.start), right = Math.max(x(segment.end) - (width / segments.length > 6 ? 1 : 0), left + 0.7);
      pen.fillStyle = colour;
      pen.fillRect(left, bottom - tall, right - left, tall);
    };
    const rule = (y) => { pen.fillStyle = line; pen.fillRect(0, y, width, 1); };
    let bottom = TOP;
    for (const n of shown) {
      bottom += LANE;
      rule(bottom - 1);
      for (const segment of segments) {
        const scores = segment.scores[chosen];
        if (scores && scores[n] > 20) bar(segment, bottom - 1, ((LANE - 3) * scores[n]) / 1000, styles[n][1]);
      }
    }
    bottom += GAP;
    [0, 1, 2].forEach((m) => {
      bottom += LANE;
      rule(bottom - 1);
      for (const segment of segments) {
        if (segment.attention[m]) bar(segment, bottom - 1, ((LANE - 3) * segment.attention[m]) / 1000, faint);
      }
    });
    if (people.length > 1) {
      bottom += GAP;
      for (const person of people) drawPerson(pen, person, (bottom += PERSON) - PERSON / 2, x, faint);
    }
    drawAxis(pen, bottom, width, line, faint);
    moments.forEach((moment, n) => drawMark(pen, x(+moment.dataset.start), n + 1, width, ink, paper));
  }

  /** Draw one face: pleasant emotions above the line, unpleasant ones below; no line without a face. */
  function drawPerson(pen, person, middle, x, faint) {
    const total = (scores, names) => names.reduce((sum, name) => sum + (scores[labels.indexOf(name)] || 0), 0) / 1000;
    const step = Math.max(1, x(duration) / 3000);
    person.times.forEach((time, n) => {
      const scores = person.scores[n], next = person.times[n + 1];
      if (!scores) return;
      const wide = Math.max(step, next !== undefined && person.scores[n + 1] ? x(next) - x(time) : step);
      pen.fillStyle = faint;
      pen.fillRect(x(time), middle - 0.5, wide, 1);
      pen.fillStyle = "#c08000";
      pen.fillRect(x(time), middle, wide, -total(scores, PLEASANT) * (PERSON / 2 - 2));
      pen.fillStyle = "#1a7fc0";
      pen.fillRect(x(time), middle, wide, total(scores, UNPLEASANT) * (PERSON / 2 - 2));
    });
  }

  function drawAxis(pen, top, width, line, faint) {
    const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
    const step = steps.find((seconds) => (seconds / duration) * width > 62) || 7200;
    pen.font = "11px system-ui, sans-serif";
    pen.textAlign = "center";
    for (let time = step; time < duration - step / 3; time += step) {
      const at = (time / duration) * width;
      pen.fillStyle = line;
      pen.fillRect(at, top, 1, 4);
      pen.fillStyle = faint;
      pen.fillText(clock(time), at, top + 15);
    }
  }

  function drawMark(pen, at, number, width, ink, paper) {
    const middle = Math.min(Math.max(at + 1, 8), width - 8);
    pen.fillStyle = ink;
    pen.beginPath();
    pen.arc(middle, 8, 7, 0, 2 * Math.PI);
    pen.fill();
    pen.fillRect(Math.max(at, 0), 8, 1, 10);
    pen.fillStyle = paper;
    pen.font = "bold 10px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.fillText(number, middle, 11.5);
  }

  function nameLanes() {
    const swatch = (n) => make("span", { className: `e${styles[n][0]}` }, make("i", { className: "swatch" }));
    const lanes = lanesShown().map((n) => make("div", {}, swatch(n), labels[n]));
    lanes.push(make("div", { className: "gap" }));
    for (const name of sourceNames.slice(1)) lanes.push(make("div", { textContent: name, title: `contribution of the ${name.toLowerCase()}` }));
    if (people.length > 1) {
      lanes.push(make("div", { className: "gap" }));
      for (const person of people) lanes.push(make("div", { className: "person", textContent: `person ${person.id}` }));
    }
    byId("lanes").replaceChildren(...lanes);
  }

  function listenToTimeline() {
    const track = byId("track"), tip = byId("tip");
    const redraw = () => { nameLanes(); drawTimeline(); };
    const timeAt = (event) => {
      const box = track.getBoundingClientRect();
      return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * duration;
    };
    let dragged = false;
    track.addEventListener("pointerdown", (event) => { dragged = true; track.setPointerCapture(event.pointerId); seek(timeAt(event)); });
    track.addEventListener("pointerup", () => { dragged = false; });
    track.addEventListener("pointermove", (event) => {
      if (dragged) seek(timeAt(event));
      const time = timeAt(event), segment = segments[segmentAt(time)];
      const scores = segment && segment.scores[source()];
      const best = scores && scores.indexOf(Math.max(...scores));
      const words = segment ? rows[segmentAt(time)].querySelector(".utterance").textContent.trim() : "";
      tip.replaceChildren(make("b", { textContent: clock(time) }),
        scores ? ` ${labels[best]} ${percent(scores[best])}` : "", make("br"), words.slice(0, 120));
      tip.hidden = false;
      const box = track.parentElement.getBoundingClientRect();
      tip.style.left = `${Math.max(0, Math.min(event.clientX - box.left - 60, box.width - tip.offsetWidth))}px`;
    });
    track.addEventListener("pointerleave", () => { tip.hidden = true; });
    track.addEventListener("keydown", (event) => {
      const leap = event.shiftKey ? 10 : 1;
      const next = starts.findIndex((start) => start > position + 0.02);
      const before = starts.findLastIndex((start) => start < position - 0.02);
      const target = {
        ArrowRight: position + leap, ArrowUp: position + leap, ArrowLeft: position - leap, ArrowDown: position - leap,
        PageDown: next < 0 ? position : starts[next], PageUp: before < 0 ? 0 : starts[before], Home: 0, End: duration,
      }[event.key];
      if (event.key === " " && playable) player.paused ? player.play() : player.pause();
      else if (target === undefined) return;
      else seek(target);
      event.preventDefault();
    });
    byId("source").addEventListener("change", redraw);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    for (const [name, printing] of [["beforeprint", true], ["afterprint", false]]) {
      addEventListener(name, () => { document.documentElement.classList.toggle("printing", printing); redraw(); });
    }
    new ResizeObserver(drawTimeline).observe(track.parentElement);
    redraw();
  }

  // Curves: the page contains Plotly compressed and unpacks it after everything else.
  const curves = byId("curves");
  let drawn = false;

  async function unpackPlotly() {
    const packed = Uint8Array.from(atob(byId("plotly").textContent.trim()), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    document.head.append(make("script", { textContent: await new Response(stream).text() }));
  }

  /** Return one source's scores as steps: constant from a segment's start to its end. */
  function steps(sourceNumber) {
    const times = [], values = [];
    let reached = -1;
    for (const segment of segments) {
      const scores = segment.scores[sourceNumber];
      if (!scores) continue;
      if (reached >= 0 && segment.start - reached > 0.05) { times.push(reached); values.push(null); }
      times.push(segment.start, segment.end);
      values.push(scores, scores);
      reached = segment.end;
    }
    return { times, scores: values };
  }

  function traces() {
    const chosen = byId("person") ? +byId("person").value : 0;
    return [0, 1, 2, 3].flatMap((number) => {
      const curve = number === 1 && people[chosen] ? people[chosen] : steps(number);
      const dates = curve.times.map(date);
      return labels.flatMap((label, n) => {
        if (!curve.scores.some((scores) => scores && scores[n] > 0)) return [];
        return [{
          x: dates, y: curve.scores.map((scores) => (scores ? scores[n] / 1000 : null)), name: label, mode: "lines",
          xaxis: "x", yaxis: number ? `y${number + 1}` : "y", line: { color: styles[n][1], dash: styles[n][2], width: 1.7 },
          hovertemplate: "%{y:.0%}", visible: isShown(n), meta: n,
        }];
      });
    });
  }

  /** Convert seconds to the date format of Plotly's time axis. */
  const date = (seconds) => new Date(1000 * seconds).toISOString().slice(0, -1);

  const MARGIN = { l: 58, r: 12, t: 6, b: 30 };

  function layout() {
    const hours = duration >= 3600, colours = getComputedStyle(document.documentElement);
    const made = {
      height: 620, margin: MARGIN, showlegend: false, hovermode: "x unified", dragmode: "zoom",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 12 },
      modebar: { bgcolor: "rgba(0,0,0,0)" },
      hoverlabel: { bgcolor: colours.getPropertyValue("--paper").trim(), bordercolor: colours.getPropertyValue("--line").trim() },
      xaxis: {
        type: "date", range: [date(0), date(duration)], tickformat: hours ? "%-H:%M:%S" : "%-M:%S", hoverformat: hours ? "%-H:%M:%S" : "%-M:%S.%1f",
        anchor: "y4", gridcolor: "rgba(128,136,150,.25)", zeroline: false, nticks: Math.max(3, Math.floor(curves.clientWidth / 90)),
      },
    };
    sourceNames.forEach((name, number) => {
      const top = 1 - number * 0.25;
      made[number ? `yaxis${number + 1}` : "yaxis"] = {
        domain: [top - 0.225, top], range: [0, 1.02], fixedrange: true, tickformat: ".0%", tickvals: [0, 0.5, 1],
        gridcolor: "rgba(128,136,150,.25)", zeroline: false, title: { text: name, standoff: 4 },
      };
    });
    return made;
  }

  const isShown = (n) => {
    const box = byId("shown").querySelector(`input[value="${n}"]`);
    return !box || box.checked;
  };

  async function drawCurves() {
    await unpackPlotly();
    const options = {
      responsive: true, displaylogo: false, scrollZoom: false,
      modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"]],
    };
    await Plotly.newPlot(curves, traces(), layout(), options);
    drawn = true;
    curves.dataset.drawn = "yes";
    curves.on("plotly_relayout", moveCursor);
    const redraw = () => Plotly.react(curves, traces(), { ...layout(), xaxis: { ...layout().xaxis, range: curves.layout.xaxis.range } }, options);
    byId("shown").addEventListener("change", () => {
      Plotly.restyle(curves, { visible: curves.data.map((trace) => isShown(trace.meta)) });
    });
    if (byId("person")) byId("person").addEventListener("change", redraw);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    addEventListener("beforeprint", () => Plotly.relayout(curves, { width: 690 }));
    addEventListener("afterprint", () => Plotly.relayout(curves, { width: null, autosize: true }));
    listenToCurves();
    moveCursor();
  }

  /** Return the visible range in seconds; Plotly omits the time of a date if it is zero. */
  const range = () => curves.layout.xaxis.range.map((edge) =>
    Date.parse(edge.length > 10 ? `${edge.replace(" ", "T")}Z` : edge) / 1000);

  function moveCursor() {
    if (!drawn) return;
    const [left, right] = range(), share = (position - left) / (right - left), cursor = byId("cursor");
    cursor.hidden = share < 0 || share > 1;
    cursor.style.left = `${MARGIN.l + share * (curves.clientWidth - MARGIN.l - MARGIN.r)}px`;
    cursor.style.top = `${MARGIN.t}px`;
    cursor.style.bottom = `${MARGIN.b}px`;
  }

  /** Jump on a click; a drag zooms. */
  function listenToCurves() {
    let pressed = null;
    curves.addEventListener("pointerdown", (event) => { pressed = event; }, true);
    addEventListener("pointerup", (event) => {
      const box = curves.getBoundingClientRect(), inside = event.clientX - box.left - MARGIN.l, wide = box.width - MARGIN.l - MARGIN.r;
      if (pressed && Math.abs(event.clientX - pressed.clientX) < 4 && !pressed.target.closest(".modebar") && inside >= 0 && inside <= wide) {
        const [left, right] = range();
        seek(left + (inside / wide) * (right - left));
      }
      pressed = null;
    }, true);
  }

  function offerEmotions() {
    const dashes = { dash: "6 4", dot: "2 3", dashdot: "6 3 2 3", longdash: "10 4" };
    labels.forEach((label, n) => {
      const sample = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
      const look = { x1: 0, x2: 30, y1: 4, y2: 4, stroke: styles[n][1], "stroke-width": 2.5, "stroke-dasharray": dashes[styles[n][2]] || "none" };
      for (const [name, value] of Object.entries(look)) line.setAttribute(name, value);
      sample.setAttribute("aria-hidden", "true");
      sample.append(line);
      byId("shown").append(make("label", {}, make("input", { type: "checkbox", checked: true, value: n }), sample, label));
    });
  }

  listenToRows();
  if (player) listenToPlayer();
  if (byId("track")) listenToTimeline();
  if (segments.length) choose(0);
  show();
  if (curves) {
    offerEmotions();
    const start = () => drawCurves().catch((error) => { byId("no-curves").hidden = false; console.error(error); });
    if (document.readyState === "complete") start(); else addEventListener("load", () => setTimeout(start, 50));
  }
})();
