// The last hour as lines: lineq-web's history first, then what comes every second. Drawn by dygraphs.
'use strict';

// Its legend, which is not shown, measures with inline styles, which the page's policy forbids.
Dygraph.PLUGINS = Dygraph.PLUGINS.filter((plugin) => plugin !== Dygraph.Plugins.Legend);

const HOUR_MS = 3600 * 1000;
const SPAN_MS = 600 * 1000;  // at least so much is on show, also when little is known
const STEP_MS = 5000;        // more is not seen in an hour

const compact = new Intl.NumberFormat('en-US', {notation: 'compact', maximumFractionDigits: 1});

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

class Chart {
  static all = new Set();

  // `at` says in words what is under the pointer; `lines`: [[name, colour, pattern], ...].
  constructor(node, at, lines, words) {
    Object.assign(this, {node, at, lines, words});
    this.points = [];
    this.of = null;
    Chart.all.add(this);
  }

  // Of something else from now on: its history, as [[ms, value, ...], ...].
  async load(of, query) {
    this.of = of;
    this.points = [];
    this.forget();
    try {
      const answer = await fetch('/status/history' + query, {cache: 'no-store', signal: AbortSignal.timeout(5000)});
      if (!answer.ok) return;
      const state = await answer.json();
      if (this.of !== of) return;
      const since = this.points;
      this.points = state.points.map(([ms, ...values]) => [new Date(ms), ...values]);
      const last = this.points.at(-1);
      this.points.push(...since.filter((p) => !last || p[0] > last[0]));
      this.draw();
    } catch {
      // The chart begins now.
    }
  }

  add(ms, values) {
    const at = new Date(ms);
    const last = this.points.at(-1);
    if (last && at - last[0] < STEP_MS) return;
    this.points.push([at, ...values]);
    while (this.points.length > 1 && at - this.points[0][0] > HOUR_MS) this.points.shift();
    this.draw();
  }

  draw() {
    if (this.node.closest('[hidden]') || this.points.length === 0) return;
    if (this.graph) {
      this.graph.updateOptions({file: this.points, dateWindow: this.window()});
      return;
    }
    const names = this.lines.map((l) => l[0]);
    this.graph = new Dygraph(this.node, this.points, {
      labels: ['time', ...names], colors: this.lines.map((l) => colour(l[1])), legend: 'never', strokeWidth: 1.6,
      series: Object.fromEntries(this.lines.filter((l) => l[2]).map((l) => [l[0], {strokePattern: l[2]}])),
      dateWindow: this.window(), includeZero: true, axisLabelWidth: 60, gridLineColor: colour('--rule'), axisLineColor: colour('--rule'),
      axes: {y: {axisLabelFormatter: (n) => compact.format(n)}}, interactionModel: {}, rightGap: 12, highlightCircleSize: 3,
      highlightCallback: (event, x, at) => {
        text(this.at, clock(x) + ': ' + at.map((p) => this.words(p.yval) + ' ' + p.name).join(', '));
      },
      unhighlightCallback: () => text(this.at, ''),
    });
  }

  window() {
    const [first] = this.points[0];
    const [last] = this.points.at(-1);
    return [Math.min(first, last - SPAN_MS), Number(last)];
  }

  forget() {
    if (this.graph) this.graph.destroy();
    this.graph = null;
  }
}

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  for (const chart of Chart.all) {
    chart.forget();
    chart.draw();
  }
});

// ---- updates a second --------------------------------------------------------------------------

const traffic = new Chart($('traffic-chart'), $('traffic-at'), [['in', '--ink'], ['out', '--accent', [7, 4]]],
                          (n) => rate(n) + '/s');

function showTraffic(s, stale) {
  $('traffic-section').hidden = false;
  if (traffic.of === null) traffic.load('all', '');
  if (!stale && s.in_per_s !== null) traffic.add(s.time_ms, [s.in_per_s, s.out_per_s]);
}
