// One bot's chart: candles, signals, fills, and the levels of what works at the venue.
"use strict";

(() => {
  let box = document.getElementById("chart");
  if (!box || !window.LightweightCharts) return;
  const { createChart, CandlestickSeries, createSeriesMarkers, LineStyle, CrosshairMode } = LightweightCharts;
  const symbol = box.dataset.symbol;
  const barS = Number(box.dataset.barS);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  let chart, candles, markers, lines = [], marks = [], lastBar = null, waits = null;

  function look() {
    return {
      layout: { background: { color: css("--panel") }, textColor: css("--muted"), fontFamily: "system-ui, sans-serif", fontSize: 11, attributionLogo: false },
      grid: { vertLines: { color: css("--raised") }, horzLines: { color: css("--raised") } },
      rightPriceScale: { borderColor: css("--line") },
      timeScale: { borderColor: css("--line"), timeVisible: true, secondsVisible: barS < 60 },
      crosshair: { mode: CrosshairMode.Normal },
    };
  }

  function colours() {
    return { upColor: css("--up"), downColor: css("--down"), wickUpColor: css("--up"), wickDownColor: css("--down") };
  }

  function build(data) {
    const places = (data.tick.split(".")[1] || "").length;
    chart = createChart(box, { ...look(), autoSize: true });
    candles = chart.addSeries(CandlestickSeries, {
      ...colours(), borderVisible: false,
      priceFormat: { type: "price", precision: places, minMove: Number(data.tick) },
      lastValueVisible: true, priceLineVisible: false, autoscaleInfoProvider: withLevels,
    });
    markers = createSeriesMarkers(candles, []);
    fill(data);
    chart.timeScale().setVisibleLogicalRange({ from: data.bars.length - 120, to: data.bars.length + 4 });
  }

  // levels near the candles are in the picture; one far away would press them flat
  function withLevels(original) {
    const found = original();
    if (!found?.priceRange) return found;
    const { minValue, maxValue } = found.priceRange;
    const reach = 2 * (maxValue - minValue);
    const near = lines.map((line) => line.options().price).filter((price) => price > minValue - reach && price < maxValue + reach);
    return { ...found, priceRange: { minValue: Math.min(minValue, ...near), maxValue: Math.max(maxValue, ...near) } };
  }

  function fill(data) {
    candles.setData(data.bars);
    lastBar = data.bars.at(-1) || null;
    marks = data.marks;
    draw(data.levels);
    mark();
  }

  function mark() {
    markers.setMarkers(marks.map((m) => {
      const buys = m.side === "BUY";
      if (m.kind === "fill") return { time: m.time, position: "inBar", shape: "circle", color: css("--text"), size: 0.6, text: "" };
      return {
        time: m.time, position: buys ? "belowBar" : "aboveBar", shape: buys ? "arrowUp" : "arrowDown",
        color: m.kind === "denied" ? css("--muted") : buys ? css("--blue") : css("--amber"), size: m.kind === "denied" ? 0.5 : 1, text: "",
      };
    }));
  }

  function draw(levels) {
    for (const line of lines) candles.removePriceLine(line);
    const colours = { stop: "--magenta", target: "--up", order: "--blue", position: "--muted" };
    lines = levels.map((level) => candles.createPriceLine({
      price: level.price, color: css(colours[level.kind]), lineWidth: 1, lineStyle: level.kind === "position" ? LineStyle.Dotted : LineStyle.Dashed,
      axisLabelVisible: true, title: level.text,
    }));
  }

  async function load() {
    const answer = await fetch(box.dataset.url, { headers: { "HX-Request": "true" } });
    if (!answer.ok) return;
    const data = await answer.json();
    if (data.bars.length) delete box.dataset.empty;
    else box.dataset.empty = "No bar yet. The chart begins with the first one; an engine has to run for that.";
    if (chart) fill(data);
    else if (data.bars.length) build(data);
  }

  // what is new at the venue or in the journal brings its marks with it
  function soon() {
    waits ??= setTimeout(() => { waits = null; load(); }, 1500);
  }

  document.addEventListener("desk:chart", ({ detail }) => {
    if (!chart) { if (detail.bars?.length) soon(); return; }
    for (const [name, interval, startMs, open, high, low, close] of detail.bars || []) {
      if (name !== symbol || interval !== barS) continue;
      const bar = { time: Math.floor(startMs / 1000), open: Number(open), high: Number(high), low: Number(low), close: Number(close) };
      if (!lastBar || bar.time >= lastBar.time) { candles.update(bar); lastBar = bar; }
    }
    if (detail.levels?.[symbol]) { draw(detail.levels[symbol]); soon(); }
  });

  // the live part was loaded again, and the chart's box with it
  document.addEventListener("desk:resynced", () => {
    chart?.remove();
    chart = null;
    box = document.getElementById("chart");
    if (box) load();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    chart?.applyOptions(look());
    candles?.applyOptions(colours());
    if (chart) load();
  });
  load();
})();
