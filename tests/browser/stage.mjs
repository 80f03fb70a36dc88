// What every browser test needs: a segment that can be moved from scene to scene, lineq-web over it,
// Chromium, axe-core.
import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import {mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {createServer} from 'node:net';
import {tmpdir} from 'node:os';
import path from 'node:path';
import {chromium} from 'playwright-core';

const need = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(name + ' is not set: run this by meson test');
  return value;
};
export const shots = need('LINEQ_SHOTS');
mkdirSync(shots, {recursive: true});

export const PATIENCE = 20000;

export async function until(condition, what) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    if (await condition()) return;
    if (Date.now() > end) assert.fail('waited in vain for ' + what);
    await new Promise((done) => setTimeout(done, 50));
  }
}

async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const {port} = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

// Ends with this process, however that ends, and leaves no segment behind.
const children = new Set();
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  for (const name of readdirSync('/dev/shm')) {
    if (name.startsWith('lineq.browser-' + process.pid + '-')) rmSync('/dev/shm/' + name, {force: true});
  }
});

function run(program, args, env = {}) {
  const child = spawn(program, args, {env: {...process.env, ...env}, stdio: ['pipe', 'pipe', 'pipe']});
  children.add(child);
  // Alone it keeps nobody waiting: a failed test must end.
  for (const handle of [child, child.stdin, child.stdout, child.stderr]) handle.unref();
  child.words = '';
  child.stderr.on('data', (text) => { child.words += text; });
  child.ended = new Promise((done) => child.on('exit', (code) => { children.delete(child); done(code); }));
  return child;
}

export class Stage {
  static count = 0;

  // The program that moves the segment, by the variable that names it.
  constructor(scene = 'LINEQ_SCENE') { this.program = need(scene); }
  async open() {
    this.instance = 'browser-' + process.pid + '-' + ++Stage.count;
    this.dir = mkdtempSync(path.join(tmpdir(), 'lq-'));
    // An empty configuration: what the machine has in /etc must not matter.
    writeFileSync(path.join(this.dir, 'lineq.cfg'), '{}\n');
    this.port = await freePort();
    this.url = 'http://127.0.0.1:' + this.port;
    this.tokenFile = path.join(this.dir, 'admin.token');
    await this.startScene();
    await this.startWeb();
    return this;
  }
  async startScene() {
    this.scene = run(this.program, [this.instance]);
    this.answers = '';
    this.scene.stdout.on('data', (text) => { this.answers += text; });
  }
  async endScene() {
    this.scene.stdin.end('quit\n');
    await this.scene.ended;
  }
  environment() {
    return {
      LINEQ_INSTANCE: this.instance,
      LINEQ_CONTROL: path.join(this.dir, 'control.sock'),
      LINEQ_STATE_DIR: this.dir,
      LINEQ_ADMIN_TOKEN_FILE: this.tokenFile,
    };
  }
  async startWeb() {
    this.web = run(need('LINEQ_WEB'), ['-f', path.join(this.dir, 'lineq.cfg')], {
      ...this.environment(),
      SERVICE_WEB_HOST: '127.0.0.1',
      SERVICE_WEB_PORT: String(this.port),
      SERVICE_TCP_HOST: '0.0.0.0',
      SERVICE_TCP_PORT: '11111',
    });
    await until(async () => {
      if (this.web.exitCode !== null) assert.fail('lineq-web ended: ' + this.web.words);
      try { return (await fetch(this.url + '/healthz')).ok; } catch { return false; }
    }, 'lineq-web');
  }
  async stopWeb() {
    this.web.kill('SIGKILL');
    await this.web.ended;
  }
  async play(...words) {
    for (const word of words) {
      this.answers = '';
      this.scene.stdin.write(word + '\n');
      await until(() => {
        if (this.scene.exitCode !== null) assert.fail('the scene ended: ' + this.scene.words);
        return this.answers === 'ok\n';
      }, 'scene ' + word);
    }
  }
  async close() {
    await this.stopWeb();
    await this.endScene();
    rmSync(this.dir, {recursive: true});
  }
}

// A real lineqd with waiting rooms that takes over a segment with a million entries, and a HAProxy
// that keeps a table with it, when there is a HAProxy.
export class LiveStage extends Stage {
  static token = 'open-sesame';
  static haproxy = process.env.LINEQ_HAPROXY || '';

  async startScene() {
    await super.startScene();
    await this.play('open', 'fill 1000000', 'die');
    this.tcp = await freePort();
    this.http = await freePort();
    writeFileSync(this.tokenFile, LiveStage.token + '\n');
    this.daemon = run(need('LINEQD'), ['-f', path.join(this.dir, 'lineq.cfg'), '--feed-log2', '16'], {
      ...this.environment(), SERVICE_MODE: 'vwr', SERVICE_TCP_HOST: '127.0.0.1', SERVICE_TCP_PORT: String(this.tcp)});
    if (LiveStage.haproxy) await this.startHaproxy();
  }
  async startHaproxy() {
    const file = path.join(this.dir, 'haproxy.cfg');
    writeFileSync(file, `
global
    localpeer hap1
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
peers lineq
    server hap1
    server lineq 127.0.0.1:${this.tcp}
backend clients
    stick-table type string len 40 size 10k expire 10m store gpc0,gpt0,http_req_rate(10s) peers lineq
frontend web
    bind 127.0.0.1:${this.http}
    http-request track-sc0 url_param(who) table clients
    http-request sc-inc-gpc0(0)
    http-request return status 200
`);
    this.proxy = run(LiveStage.haproxy, ['-db', '-f', file]);
    await until(async () => {
      if (this.proxy.exitCode !== null) assert.fail('haproxy ended: ' + this.proxy.words);
      try { return (await this.visit('alice')).ok; } catch { return false; }
    }, 'haproxy');
  }
  visit(who) { return fetch('http://127.0.0.1:' + this.http + '/?who=' + encodeURIComponent(who)); }
  async endScene() {
    for (const child of [this.proxy, this.daemon].filter(Boolean)) {
      child.kill('SIGTERM');
      await child.ended;
    }
    await super.endScene();
  }
}

export async function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
           '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
}

// A page of its own at `url`; what it complains of, and what it asks of others, is kept for
// closePage(). Options are those of a browser's context.
export async function openPage(browser, url, options = {}) {
  const context = await browser.newContext({viewport: WIDTHS.desktop, ...options});
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  page.errors = [];
  const origin = new URL(url).origin;
  page.on('pageerror', (error) => page.errors.push(String(error)));
  page.on('dialog', (dialog) => { page.errors.push('a dialog opened'); dialog.dismiss(); });
  page.on('console', (m) => {
    // What the server answers is looked at in the page; that it cannot be reached, likewise.
    if (m.type() === 'error' && !m.text().startsWith('Failed to load resource')) page.errors.push(m.text());
  });
  const asks = (asked) => {
    if (new URL(asked).host !== new URL(origin).host) page.errors.push('asks elsewhere: ' + asked);
  };
  page.on('request', (r) => { if (/^(http|ws)/.test(r.url())) asks(r.url()); });
  page.heard = [];  // what was pushed to it
  page.on('websocket', (socket) => {
    asks(socket.url());
    socket.on('framereceived', (frame) => page.heard.push(frame.payload));
  });
  await page.goto(url);
  return page;
}
// The status page of a stage, with a first state on show.
export async function openStatus(browser, stage, options = {}, fragment = '') {
  const page = await openPage(browser, stage.url + '/status' + fragment, options);
  await until(() => page.locator('#verdict').isVisible(), 'a first state');
  return page;
}
export const says = (page, words) => until(
  async () => (await page.locator('#verdict .headline .word').textContent()).includes(words), words);
export async function closePage(page) {
  assert.deepEqual(page.errors, []);
  await page.context().close();
}

// The page in light and dark, on a phone and a desk: a picture of each, nothing that axe-core
// minds, no sideways scrolling. The page's context has to bypass its policy (axe).
export async function dressed(page, name) {
  for (const colorScheme of THEMES) {
    await page.emulateMedia({colorScheme});
    for (const [width, viewport] of Object.entries(WIDTHS)) {
      await page.setViewportSize(viewport);
      const dress = `${name}-${width}-${colorScheme}`;
      await page.screenshot({path: path.join(shots, dress + '.png'), fullPage: true});
      assert.deepEqual(await axeProblems(page), [], dress);
      const overflow = await page.evaluate(() =>
        document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(overflow, 0, dress + ': the page scrolls sideways');
    }
  }
  await page.setViewportSize(WIDTHS.desktop);
}

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

// Every problem axe-core sees, in words. The page's own policy would keep axe out: the context has
// to bypass it.
export async function axeProblems(page) {
  if (!await page.evaluate(() => 'axe' in globalThis)) await page.evaluate(axe);
  const result = await page.evaluate(() => globalThis.axe.run(document, {resultTypes: ['violations']}));
  return result.violations.map((v) => v.id + ': ' + v.nodes.map((n) => n.target.join(' ')).join(', '));
}

export const WIDTHS = {phone: {width: 320, height: 700}, desktop: {width: 1280, height: 900}};
export const THEMES = ['light', 'dark'];
