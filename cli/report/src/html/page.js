"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const run = data.run;
  const $ = (id) => document.getElementById(id);

  // All text of others goes through here, as text and never as markup.
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "class") element.className = value;
      else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value);
    }
    for (const child of children) element.append(child);
    return element;
  };

  const time = (us) => {
    const s = us / 1e6;
    if (us < 1) return "0";
    if (us < 1000) return `${Math.round(us)} µs`;
    if (us < 1e4) return `${(us / 1e3).toFixed(1)} ms`;
    if (s < 1) return `${Math.round(us / 1e3)} ms`;
    if (s < 60) return `${s.toFixed(s < 10 ? 2 : 1)} s`;
    if (s < 3600) return `${Math.floor(s / 60)}m ${String(Math.floor(s % 60)).padStart(2, "0")}s`;
    return `${Math.floor(s / 3600)}h ${String(Math.floor((s % 3600) / 60)).padStart(2, "0")}m`;
  };
  const size = (bytes) => {
    let unit = 0;
    while (bytes >= 1024 && unit < 4) { bytes /= 1024; unit++; }
    return `${bytes.toFixed(unit ? 1 : 0)} ${["B", "KiB", "MiB", "GiB", "TiB"][unit]}`;
  };
  const count = (n) => n.toLocaleString("en");
  const plural = (n, one) => `${count(n)} ${one}${n === 1 ? "" : "s"}`;

  const KINDS = [
    ["succeeded", "--ok"], ["failed", "--failed"], ["timed out", "--timeout"],
    ["failed, tried again", "--retry"], ["crashed", "--failed"], ["cancelled or came back", "--other"],
  ];
  const STATUS = ["succeeded", "failed", "timed out", "crashed", "cancelled", "skipped"];
  let colors = {};
  const readColors = () => {
    const style = getComputedStyle(document.documentElement);
    colors = {};
    for (const name of ["bg", "panel", "ink", "dim", "line", "soft", "ok", "failed", "timeout", "retry", "other", "accent", "wait", "chain", "cached"]) {
      colors[`--${name}`] = style.getPropertyValue(`--${name}`).trim();
    }
  };
  const waitColor = (index) => `hsl(${(index * 67 + 212) % 360} 48% 56%)`;

  // A job: [id, item, task, host, arrived, ended, status, cached, charged, waits, attempts, failure].
  const jobs = data.jobs.map(([id, item, task, host, arrived, ended, status, cached, charged, waits, attempts, failure], index) =>
    ({ index, id, item, task, host, arrived, ended, status, cached, charged, waits, attempts, failure, name: item ?? id }));
  // An attempt: [row, began, ran, kind, cpu, rss].
  const bars = [];
  for (const job of jobs) {
    job.attempts.forEach(([row, began, ran, kind, cpu, rss], number) =>
      bars.push({ job, row, began, end: began + ran, ran, kind, number: number + 1, cpu, rss }));
  }
  const byRow = Array.from({ length: data.rows.length }, () => []);
  for (const bar of bars) byRow[bar.row].push(bar);
  for (const row of byRow) row.sort((one, other) => one.began - other.began);
  const onChain = new Set(data.chain.map((link) => link[0]).filter((job) => job !== null));

  // ---- Head and figures.
  const bad = run.counts[1] + run.counts[2] + run.counts[3];
  $("title").textContent = `ratchet run ${run.id}`;
  $("state").textContent = run.state === "finished" ? (bad ? "finished with failures" : "finished") : run.state;
  $("state").classList.add(run.state === "running" ? "live" : run.state === "interrupted" || bad ? "bad" : "good");
  $("command").textContent = run.command;
  const began = new Date(run.began_ms);
  $("when").textContent = `began ${began.toISOString().slice(0, 19).replace("T", " ")} UTC` +
    (run.resumed ? `, resumed ${plural(run.resumed, "time")}` : "") +
    (run.damaged ? `; ${plural(run.damaged, "line")} of its record are damaged and left out` : "");
  const tile = (value, label, cls = "") => $("tiles").append(make("div", { class: `tile ${cls}` }, make("b", {}, value), make("span", {}, label)));
  tile(time(run.length), run.state === "running" ? "so far" : "length");
  tile(count(run.jobs), run.jobs === 1 ? "job" : "jobs");
  tile(count(run.counts[0]), "succeeded");
  if (bad) tile(count(bad), "failed", "failed");
  if (run.counts[4] + run.counts[5]) tile(count(run.counts[4] + run.counts[5]), "cancelled or skipped");
  if (run.flaky) tile(count(run.flaky), "flaky", "flaky");
  if (run.retries) tile(count(run.retries), "retries");
  if (run.cached) tile(count(run.cached), "from the cache");
  if (run.restarts) tile(count(run.restarts), run.restarts === 1 ? "worker restart" : "worker restarts");
  tile(count(run.slots), run.slots === 1 ? "slot" : "slots");
  if (run.length) tile(`${Math.round(100 * run.ran / (run.length * run.slots))} %`, "slots in use");
  if (run.cpu) tile(time(run.cpu), "processor time");
  if (run.max_rss) tile(size(run.max_rss), "largest process");

  // ---- Why.
  for (const line of data.story) $("story").append(make("p", {}, line));
  if (data.whatif.length) {
    const rows = data.whatif.map(([text, length, saved]) => make("tr", {},
      make("td", { class: "name" }, text),
      make("td", { class: "num" }, time(length)),
      make("td", { class: "num" }, saved * 1000 < run.length ? make("span", { class: "dim" }, "as long") : make("span", { class: "gain" }, `−${time(saved)}`))));
    $("whatif").append(make("table", {}, ...rows));
    $("whatif").append(make("p", { class: "dim" }, "The scheduler decided once more, with the times that the jobs took."));
  } else {
    $("whatif").append(make("p", { class: "dim" }, "The record does not tell enough for a simulation."));
  }
  if (data.chain.length > 1) {
    const steps = [];
    const shown = data.chain.length <= 12 ? data.chain : [...data.chain.slice(0, 5), null, ...data.chain.slice(-6)];
    for (const link of shown) {
      if (!link) { steps.push(make("li", { class: "via" }, `· ${plural(data.chain.length - 11, "more job")} ·`)); continue; }
      const [job, name, ran, got, waited] = link;
      if (got) steps.push(make("li", { class: "via" }, `→ ${got}${waited ? `, ${time(waited)} later` : ""} →`));
      const text = `${name}  ${time(ran)}`;
      steps.push(make("li", { title: text }, job === null ? text : make("button", { class: "link", onclick: () => choose(jobs[job], true) }, text)));
    }
    $("chain").append(make("ul", { class: "steps", "aria-label": "The chain of jobs that set the length" }, ...steps));
  }

  // ---- Views of time that zoom together.
  let view = [0, Math.max(run.length, 1)];
  let chosen = null;
  let matches = null;
  let matchAt = -1;
  const LABEL = 92;
  const rowHeight = data.rows.length <= 12 ? 22 : data.rows.length <= 40 ? 16 : data.rows.length <= 120 ? 9 : 4;
  const AXIS = 20;
  const labelWidth = () => (innerWidth < 600 ? 58 : LABEL);

  const prepare = (canvas, height) => {
    const width = canvas.clientWidth || canvas.parentElement.clientWidth;
    const ratio = devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = "11px system-ui, sans-serif";
    return [context, width];
  };
  const scaleOf = (width) => {
    const left = labelWidth();
    return { left, x: (at) => left + ((at - view[0]) / (view[1] - view[0])) * (width - left) };
  };
  const step = (span, most) => {
    const raw = span / most;
    const power = 10 ** Math.floor(Math.log10(raw));
    const unit = [1, 2, 5, 10].find((factor) => factor * power >= raw) * power;
    return Math.max(unit, 1);
  };
  const axis = (context, width, height) => {
    const { x } = scaleOf(width);
    const by = step(view[1] - view[0], Math.max(3, width / 120));
    context.textBaseline = "middle";
    for (let at = Math.ceil(view[0] / by) * by; at <= view[1]; at += by) {
      context.fillStyle = colors["--line"];
      context.fillRect(Math.round(x(at)), AXIS, 1, height - AXIS);
      context.fillStyle = colors["--dim"];
      const label = time(at);
      if (x(at) + context.measureText(label).width < width) context.fillText(label, x(at) + 3, AXIS / 2);
    }
    for (const [from, to] of data.suspensions) {
      context.fillStyle = colors["--soft"];
      context.fillRect(x(from), AXIS, x(to) - x(from), height - AXIS);
    }
  };

  const drawLanes = () => {
    const height = AXIS + Math.max(1, data.rows.length) * rowHeight + 6;
    const [context, width] = prepare($("lanes"), height);
    const { left, x } = scaleOf(width);
    axis(context, width, height);
    context.save();
    context.beginPath();
    context.rect(left, 0, width - left, height);
    context.clip();
    if (data.cells) {
      const { bins, rows } = data.cells;
      const span = run.length / bins;
      rows.forEach((row, number) => {
        const y = AXIS + number * rowHeight;
        const from = Math.max(0, Math.floor(view[0] / span)), to = Math.min(bins, Math.ceil(view[1] / span));
        for (let bin = from; bin < to; bin++) {
          const busy = row[0][bin] ?? 0, failed = row[1][bin] ?? 0;
          if (!busy) continue;
          const begin = x(bin * span), length = Math.max(1, x((bin + 1) * span) - begin + 0.5);
          context.globalAlpha = 0.16 + 0.66 * (busy / 100);
          context.fillStyle = colors["--ok"];
          context.fillRect(begin, y + 1, length, rowHeight - 2);
          if (failed) {
            context.globalAlpha = 0.9;
            context.fillStyle = colors["--failed"];
            const tall = Math.max(2, (rowHeight - 2) * failed / 100);
            context.fillRect(begin, y + rowHeight - 1 - tall, length, tall);
          }
        }
      });
      context.globalAlpha = 1;
    }
    const matched = matches && new Set(matches);
    byRow.forEach((row, number) => {
      const y = AXIS + number * rowHeight;
      let last = -1, lastKind = -1;
      for (const bar of row) {
        if (bar.end < view[0] || bar.began > view[1]) continue;
        const begin = x(bar.began), length = Math.max(1, x(bar.end) - begin - (rowHeight > 6 ? 0.5 : 0));
        // Many bars of one kind in one pixel are one.
        const isPlain = !matched && bar.job !== chosen && !onChain.has(bar.job.index);
        if (isPlain && length <= 1 && Math.floor(begin) === last && bar.kind === lastKind) continue;
        last = Math.floor(begin); lastKind = bar.kind;
        context.globalAlpha = matched && !matched.has(bar.job) ? 0.16 : 1;
        context.fillStyle = colors[KINDS[bar.kind][1]];
        context.fillRect(begin, y + 1, length, rowHeight - 2);
        if (bar.kind === 2 && length > 3) {
          // A timeout is hatched at its end, so that it differs by more than its colour.
          context.fillStyle = colors["--panel"];
          for (let at = begin + length - 2; at > Math.max(begin, begin + length - 9); at -= 3) context.fillRect(at, y + 1, 1, rowHeight - 2);
        }
        if (onChain.has(bar.job.index) && rowHeight > 6) {
          context.fillStyle = colors["--chain"];
          context.fillRect(begin, y + rowHeight - 4, length, 3);
        }
        if (rowHeight >= 14 && length > 42) {
          context.fillStyle = colors["--panel"];
          context.textBaseline = "middle";
          let text = bar.job.name.slice(0, 80);
          const room = length - 8;
          while (text.length > 1 && context.measureText(text).width > room) text = text.slice(0, Math.floor(text.length * 0.8));
          context.fillText(text, begin + 4, y + rowHeight / 2 + 0.5);
        }
      }
      context.globalAlpha = 1;
    });
    if (chosen) {
      context.strokeStyle = colors["--ink"];
      context.lineWidth = 1.5;
      for (const [row, began, ran] of chosen.attempts) {
        context.strokeRect(x(began) - 1, AXIS + row * rowHeight, Math.max(3, x(began + ran) - x(began)) + 2, rowHeight);
      }
      const [first] = chosen.attempts;
      if (first) {
        context.setLineDash([3, 3]);
        context.strokeStyle = colors["--dim"];
        context.beginPath();
        const y = AXIS + first[0] * rowHeight + rowHeight / 2;
        context.moveTo(x(chosen.arrived), y);
        context.lineTo(x(first[1]), y);
        context.stroke();
        context.setLineDash([]);
      }
    }
    context.restore();
    context.textBaseline = "middle";
    let group = null;
    data.rows.forEach(([of, name], number) => {
      const y = AXIS + number * rowHeight;
      const isNew = of !== group;
      if (isNew && number) {
        context.fillStyle = colors["--line"];
        context.fillRect(0, y, width, 1);
      }
      if (rowHeight >= 9 || isNew) {
        context.fillStyle = isNew ? colors["--ink"] : colors["--dim"];
        let text = isNew && of !== "local" && !name.startsWith(of) ? `${of} ${name}` : name;
        while (text.length > 2 && context.measureText(text).width > left - 10) text = text.slice(0, -1);
        if (rowHeight >= 9 || number % 3 === 0 || isNew) context.fillText(text, 6, y + Math.max(rowHeight, 9) / 2);
      }
      group = of;
    });
  };

  const drawSeries = () => {
    const height = 150;
    const [context, width] = prepare($("series"), height);
    const { left, x } = scaleOf(width);
    axis(context, width, height);
    const { bins, running, waiting } = data.series;
    const span = run.length / bins;
    const half = (height - AXIS) / 2 - 6;
    const middle = AXIS + half + 4;
    const mostRunning = Math.max(1, run.slots, ...running);
    const sums = running.map((_, bin) => waiting.reduce((sum, [, list]) => sum + list[bin], 0));
    const mostWaiting = Math.max(1, ...sums);
    context.save();
    context.beginPath();
    context.rect(left, AXIS, width - left, height - AXIS);
    context.clip();
    running.forEach((value, bin) => {
      context.fillStyle = colors["--ok"];
      const tall = (value / mostRunning) * half;
      const begin = x(bin * span);
      context.fillRect(begin, middle - tall, Math.max(1, x((bin + 1) * span) - begin + 0.4), tall);
    });
    const base = new Array(bins).fill(0);
    waiting.forEach(([blocker, list]) => {
      context.fillStyle = waitColor(blocker);
      list.forEach((value, bin) => {
        if (!value) return;
        const tall = (value / mostWaiting) * half;
        const begin = x(bin * span);
        context.fillRect(begin, middle + 4 + base[bin], Math.max(1, x((bin + 1) * span) - begin + 0.4), Math.max(tall, 0.5));
        base[bin] += tall;
      });
    });
    context.restore();
    context.fillStyle = colors["--dim"];
    context.textBaseline = "middle";
    context.fillText(`${count(Math.round(mostRunning))} run`, 6, middle - half + 4);
    context.fillText(`${count(Math.round(mostWaiting))} wait`, 6, middle + half);
    context.fillStyle = colors["--line"];
    context.fillRect(left, middle + 1, width - left, 1);
  };

  const limitCanvases = data.limits.map(([name, text, most, list, isRate]) => {
    const canvas = make("canvas", { role: "img", "aria-label": `Use of the limit ${name} over time` });
    $("limits").append(make("div", { class: "series" }, make("h3", {}, `Limit ${name}: ${text}`), canvas));
    return { canvas, most, list, isRate };
  });
  const drawLimits = () => {
    for (const { canvas, most, list, isRate } of limitCanvases) {
      const height = 64 + AXIS;
      const [context, width] = prepare(canvas, height);
      const { left, x } = scaleOf(width);
      axis(context, width, height);
      const top = Math.max(most, ...list, 1e-9) * 1.1;
      const span = run.length / list.length;
      const tall = (value) => (value / top) * (height - AXIS - 4);
      context.save();
      context.beginPath();
      context.rect(left, AXIS, width - left, height - AXIS);
      context.clip();
      context.fillStyle = colors["--accent"];
      list.forEach((value, bin) => {
        const begin = x(bin * span);
        context.fillRect(begin, height - tall(value), Math.max(1, x((bin + 1) * span) - begin + 0.4), tall(value));
      });
      context.fillStyle = colors["--failed"];
      context.fillRect(left, Math.round(height - tall(most)), width - left, 1);
      context.restore();
      context.fillStyle = colors["--dim"];
      context.textBaseline = "middle";
      context.fillText(isRate ? `${most.toPrecision(3)}/s` : `${most}`, 6, height - tall(most));
    }
  };

  let planned = false;
  const draw = () => {
    if (planned) return;
    planned = true;
    requestAnimationFrame(() => { planned = false; drawLanes(); drawSeries(); drawLimits(); });
  };
  const zoom = (factor, around = (view[0] + view[1]) / 2) => {
    const span = Math.min(Math.max(run.length, 1), Math.max(50, (view[1] - view[0]) * factor));
    const part = (around - view[0]) / (view[1] - view[0]);
    move(around - part * span, span);
  };
  const move = (from, span = view[1] - view[0]) => {
    const whole = Math.max(run.length, 1);
    const begin = Math.min(Math.max(0, from), whole - span);
    view = [begin, begin + span];
    draw();
  };
  const whole = () => move(0, Math.max(run.length, 1));

  const atPoint = (event) => {
    const box = $("lanes").getBoundingClientRect();
    const left = labelWidth();
    const part = (event.clientX - box.left - left) / (box.width - left);
    const at = view[0] + part * (view[1] - view[0]);
    const row = Math.floor((event.clientY - box.top - AXIS) / rowHeight);
    const slack = ((view[1] - view[0]) / (box.width - left)) * 2;
    let best = null;
    for (const bar of byRow[row] ?? []) {
      if (bar.began > at + slack) break;
      if (bar.end + slack >= at && (!best || Math.abs(bar.began - at) < Math.abs(best.began - at) || bar.end >= at)) best = bar;
    }
    return { at, row, bar: best };
  };
  const tip = $("tip");
  const showTip = (event, ...lines) => {
    tip.replaceChildren(...lines);
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
    tip.style.top = `${event.clientY + 18 + height > innerHeight ? event.clientY - height - 12 : event.clientY + 18}px`;
  };
  const waitText = (job) => job.waits.map(([blocker, us]) => `${data.blockers[blocker]} ${time(us)}`).join(", ");

  const lanes = $("lanes");
  let drag = null;
  lanes.addEventListener("pointerdown", (event) => {
    drag = { x: event.clientX, from: view[0], moved: false };
  });
  addEventListener("pointerup", () => { setTimeout(() => { drag = null; }, 0); });
  lanes.addEventListener("pointermove", (event) => {
    if (drag && event.buttons) {
      const box = lanes.getBoundingClientRect();
      const by = event.clientX - drag.x;
      if (Math.abs(by) > 3) drag.moved = true;
      if (drag.moved) { tip.hidden = true; move(drag.from - (by / (box.width - labelWidth())) * (view[1] - view[0])); }
      return;
    }
    const { bar, row, at } = atPoint(event);
    if (bar) {
      const { job } = bar;
      const lines = [make("b", {}, job.name), make("div", {}, `${KINDS[bar.kind][0]} after ${time(bar.ran)}, from ${time(bar.began)}`)];
      if (job.attempts.length > 1) lines.push(make("div", {}, `attempt ${bar.number} of ${job.attempts.length}`));
      lines.push(make("div", {}, data.rows[bar.row][1]));
      if (job.waits.length) lines.push(make("div", {}, `waited: ${waitText(job)}`));
      if (bar.cpu !== null && bar.cpu !== undefined) lines.push(make("div", {}, `processor ${time(bar.cpu)}${bar.rss ? `, memory ${size(bar.rss)}` : ""}`));
      showTip(event, ...lines);
    } else if (data.cells && data.cells.rows[row] && at >= 0) {
      const bin = Math.floor(at / (run.length / data.cells.bins));
      const [busy, failed] = data.cells.rows[row];
      showTip(event, make("b", {}, data.rows[row][1]), make("div", {}, `${busy[bin] ?? 0} % busy at ${time(at)}${failed[bin] ? `, ${failed[bin]} % with failures` : ""}`));
    } else {
      tip.hidden = true;
    }
  });
  lanes.addEventListener("pointerleave", () => { tip.hidden = true; });
  lanes.addEventListener("click", (event) => {
    if (drag?.moved) return;
    const { bar } = atPoint(event);
    choose(bar?.job ?? null, false);
  });
  lanes.addEventListener("dblclick", (event) => zoom(0.4, atPoint(event).at));
  lanes.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey && Math.abs(event.deltaX) <= Math.abs(event.deltaY)) return;
    event.preventDefault();
    if (event.ctrlKey || event.metaKey) zoom(1.002 ** event.deltaY, atPoint(event).at);
    else move(view[0] + (event.deltaX / lanes.clientWidth) * (view[1] - view[0]));
  }, { passive: false });

  const choose = (job, goThere) => {
    chosen = job;
    const box = $("detail");
    box.hidden = !job;
    if (job) {
      box.replaceChildren(make("h3", {}, job.item === null ? job.id : `${job.item} (${job.id})`));
      const facts = [`${STATUS[job.status]} after ${time(job.ended - job.arrived)}`, `came at ${time(job.arrived)}`, `task ${data.tasks[job.task]}`];
      if (job.host) facts.push(`host ${data.hosts[job.host - 1]}`);
      if (job.cached) facts.push("from the cache");
      box.append(make("p", {}, facts.join(" · ")));
      if (job.waits.length) box.append(make("p", {}, `waited: ${waitText(job)}`));
      job.attempts.forEach(([row, began, ran, kind, cpu, rss], number) => {
        const more = (cpu === null || cpu === undefined ? "" : `, processor ${time(cpu)}`) + (rss ? `, memory ${size(rss)}` : "");
        box.append(make("p", { class: "dim" }, `attempt ${number + 1} on ${data.rows[row][1]}: ${KINDS[kind][0]} after ${time(ran)}, from ${time(began)}${more}`));
      });
      if (job.failure) {
        const [kind, , message, output] = job.failure;
        box.append(make("p", {}, make("span", { class: "class" }, kind), message));
        if (output) box.append(make("pre", {}, output));
      }
      if (goThere && job.attempts.length) {
        const from = Math.min(...job.attempts.map((attempt) => attempt[1]));
        const to = Math.max(...job.attempts.map((attempt) => attempt[1] + attempt[2]));
        const span = Math.min(run.length, Math.max((to - from) * 4, run.length / 50, 50));
        move((from + to) / 2 - span / 2, span);
        const scroller = lanes.parentElement;
        scroller.scrollTop = job.attempts[0][0] * rowHeight - scroller.clientHeight / 2;
        if (scroller.getBoundingClientRect().top > innerHeight || scroller.getBoundingClientRect().bottom < 0) $("times").scrollIntoView({ block: "start" });
      }
    }
    draw();
  };

  // ---- Search.
  const search = () => {
    const wanted = $("search").value.trim().toLowerCase();
    matchAt = -1;
    if (!wanted) { matches = null; $("found").textContent = ""; draw(); return; }
    matches = jobs.filter((job) => job.id.toLowerCase().includes(wanted) || job.item?.toLowerCase().includes(wanted) ||
      data.tasks[job.task].toLowerCase() === wanted || STATUS[job.status] === wanted);
    $("found").textContent = matches.length ? plural(matches.length, "job") : data.cells ? "none among the jobs that are listed" : "none";
    draw();
  };
  const turn = (by) => {
    if (!matches?.length) return;
    matchAt = (matchAt + by + matches.length) % matches.length;
    $("found").textContent = `${matchAt + 1} of ${count(matches.length)}`;
    choose(matches[matchAt], true);
  };
  $("search").addEventListener("input", search);
  $("search").addEventListener("keydown", (event) => {
    if (event.key === "Enter") turn(event.shiftKey ? -1 : 1);
    if (event.key === "Escape") { event.target.value = ""; search(); event.target.blur(); }
  });
  $("next").addEventListener("click", () => turn(1));
  $("prev").addEventListener("click", () => turn(-1));
  $("in").addEventListener("click", () => zoom(0.5));
  $("out").addEventListener("click", () => zoom(2));
  $("all").addEventListener("click", whole);
  addEventListener("keydown", (event) => {
    if (event.target instanceof HTMLInputElement || event.ctrlKey || event.metaKey || event.altKey) return;
    const span = view[1] - view[0];
    const actions = {
      "/": () => $("search").focus(), n: () => turn(1), N: () => turn(-1), "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2),
      0: whole, ArrowLeft: () => move(view[0] - span / 5), ArrowRight: () => move(view[0] + span / 5), Escape: () => choose(null, false),
    };
    const action = actions[event.key];
    if (action) { event.preventDefault(); action(); }
  });

  // ---- Tables.
  const table = (heads, rows) => {
    const cells = (tag, list, numbers) => list.map((cell, at) => make(tag, { class: numbers[at] ? "num" : "name" }, cell));
    const numbers = heads.map((head) => head.startsWith("#"));
    return make("div", { class: "scroll" }, make("table", {},
      make("thead", {}, make("tr", {}, ...cells("th", heads.map((head) => head.replace(/^#/, "")), numbers))),
      make("tbody", {}, ...rows.map((row) => make("tr", {}, ...cells("td", row, numbers))))));
  };
  const jobLink = (index) => make("button", { class: "link", type: "button", onclick: () => choose(jobs[index], true) }, jobs[index].name.slice(0, 200));

  const allWaits = data.waits.reduce((sum, [, us]) => sum + us, 0);
  $("waits").append(data.waits.length ? table(["cause", "#together", "#share", ""], data.waits.map(([blocker, us]) => [
    data.blockers[blocker], time(us), `${(100 * us / allWaits).toFixed(0)} %`,
    make("span", { class: "share", style: `width:${Math.max(1, 100 * us / data.waits[0][1])}%;background:${waitColor(blocker)}` }),
  ])) : make("p", { class: "dim" }, "No job waited."));
  $("tasks").append(table(["task", "#jobs", "#failed", "#cached", "#ran", "#mean", "#longest"], data.per_task.map(([task, all, failed, cached, ran, longest]) => [
    data.tasks[task], count(all), count(failed), count(cached), time(ran), time(all ? ran / all : 0), time(longest)])));
  $("slowest").append(table(["job", "#ran", "#waited", "#attempts"], data.slowest.slice(0, 20).map((index) => {
    const job = jobs[index];
    return [jobLink(index), time(job.attempts.reduce((sum, attempt) => sum + attempt[2], 0)), time(job.waits.reduce((sum, [, us]) => sum + us, 0)), count(job.charged)];
  })));
  if (data.flaky.length) {
    $("flakypanel").hidden = false;
    $("flaky").append(table(["job", "#attempts", "first failure"], data.flaky.slice(0, 50).map((index) => [
      jobLink(index), count(jobs[index].charged), data.classes[index] ?? ""])));
    if (run.flaky > 50) $("flaky").append(make("p", { class: "dim" }, `and ${count(run.flaky - 50)} more`));
  }
  if (data.failed.length) {
    $("failed").hidden = false;
    if (data.reasons.length > 1 || bad > 20) {
      $("failures").append(table(["#jobs", "class", "why"], data.reasons.map(([n, kind, message]) => [count(n), kind, message])), make("p", {}, ""));
    }
    for (const index of data.failed.slice(0, 100)) {
      const job = jobs[index];
      const [kind, code, message, output] = job.failure ?? ["", null, STATUS[job.status], ""];
      const box = make("details", data.failed.length <= 3 ? { open: "" } : {},
        make("summary", {}, make("span", { class: "class" }, code ? `${kind} ${code}` : kind), make("b", {}, job.name.slice(0, 200)), ` ${message.slice(0, 240)}`),
        make("p", { class: "dim" }, `${STATUS[job.status]} after ${plural(job.charged, "attempt")}, at ${time(job.ended)} `, make("button", { class: "link", type: "button", onclick: () => choose(job, true) }, "show it on the timeline")));
      if (output) box.append(make("pre", {}, output));
      $("failures").append(box);
    }
    if (bad > 100) $("failures").append(make("p", { class: "dim" }, `and ${count(bad - 100)} more`));
  }
  if (data.events.length) {
    $("eventspanel").hidden = false;
    $("events").append(table(["#at", "what"], data.events.map(([at, text]) => [time(at), text])));
  }
  if (data.cells) {
    $("cut").hidden = false;
    $("cut").textContent = `The run has ${count(run.jobs)} jobs. Rows show how busy they were; search and hover know the failed jobs, the flaky ones and the 1,000 slowest (${plural(jobs.length, "job")}).`;
  }
  const key = (parent, items) => { for (const [text, color] of items) parent.append(make("span", {}, make("i", { style: `background:${color}` }), text)); };
  const seen = new Set(bars.map((bar) => bar.kind));
  const legend = () => {
    $("legend").replaceChildren();
    key($("legend"), KINDS.map(([text, name], kind) => [kind, text, `var(${name})`]).filter(([kind]) => kind === 0 || seen.has(kind)).map(([, text, color]) => [text, color]));
    if (onChain.size) key($("legend"), [["on the chain that set the length", "var(--chain)"]]);
    $("waitlegend").replaceChildren();
    key($("waitlegend"), [["running", "var(--ok)"], ...data.series.waiting.map(([blocker]) => [`waiting: ${data.blockers[blocker]}`, waitColor(blocker)])]);
  };
  $("foot").textContent = "Made by ratchet from the record of the run. This file needs no network.";

  $("theme").addEventListener("click", () => {
    const isDark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = isDark ? "light" : "dark";
    readColors();
    draw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColors(); draw(); });
  addEventListener("resize", draw);
  readColors();
  legend();
  draw();
  // For those who drive this page: what is shown, without pixels.
  window.ratchetReport = { data, jobs, choose, zoom, whole, view: () => view, matches: () => matches, chosen: () => chosen };
})();
