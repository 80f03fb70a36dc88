(() => {
  'use strict';
  const main = document.querySelector('main');
  const $ = (id) => document.getElementById(id);
  const lang = document.documentElement.lang;
  const SPEAK_MS = 30000, QUIET_MS = 45000, TRIES = 3;
  let now = JSON.parse(main.dataset.now);
  let heard = Date.now();   // when lineq-web last said something
  let spoken = '', spokenAt = Date.now();
  let stream = null, open = false, timer = 0, failures = 0, polls = 0, over = false;

  function say(text) {
    if (text === spoken || Date.now() - spokenAt < SPEAK_MS) return;
    spoken = text;
    spokenAt = Date.now();
    $('say').textContent = text;
  }
  function put(id, text) {
    const node = $(id), box = node.closest('[data-box]') || node;
    if (node.textContent !== text) node.textContent = text;
    box.hidden = !text;
  }
  function show(state) {
    now = state;
    main.dataset.state = state.state;
    for (const id of ['headline', 'message', 'position', 'ahead', 'wait', 'note']) put(id, state[id]);
    const bar = $('bar');
    bar.hidden = state.progress < 0;
    if (state.progress > bar.value) bar.value = state.progress;   // never back
    document.title = state.title + (main.dataset.site && ' · ' + main.dataset.site);
    say([state.headline, state.ahead, state.wait, state.note].filter(Boolean).join(' '));
  }
  function found() {
    heard = Date.now();
    failures = 0;
    $('link').hidden = true;
  }
  function lost() {
    const until = heard + now.hold * 1000;
    const time = new Date(until).toLocaleTimeString([lang], {hour: '2-digit', minute: '2-digit'});
    const text = Date.now() < until ? main.dataset.lost.replace('{time}', time) : main.dataset.lostOver;
    $('link').textContent = text;
    $('link').hidden = false;
    say(text);
  }
  // Asks for the page again, as it was asked for. `ours`: because the turn has come.
  function enter(ours) {
    if (over) return;
    over = true;
    stop();
    const turn = ours && main.dataset.turn;
    if (turn) {
      // The site may take its time to answer.
      $('turn').textContent = $('headline').textContent = document.title = turn;
      main.dataset.state = 'ready';
    }
    if (main.dataset.method === 'GET' || location.hash) location.reload();
    else location.replace(location.href);
  }
  function stop() {
    clearTimeout(timer);
    timer = 0;
    if (stream) stream.close();
    stream = null;
    open = false;
  }

  function listen() {
    if (over || stream) return;
    if (!window.EventSource) return later();
    stream = new EventSource(location.href);
    stream.onopen = () => { open = true; found(); };
    stream.onerror = () => {
      if (open) heard = Date.now();   // it was there until now, however quiet
      open = false;
      lost();
      // By itself it comes back only after a broken connection, not after a refusal.
      if (++failures >= TRIES || stream.readyState === EventSource.CLOSED) {
        stop();
        later();
      }
    };
    stream.addEventListener('position', (event) => { found(); show(JSON.parse(event.data)); });
    stream.addEventListener('ready', () => enter(true));
    stream.addEventListener('again', () => { stop(); timer = setTimeout(enter, 3000 * Math.random()); });
  }

  function later() {
    clearTimeout(timer);
    if (!over && !document.hidden) timer = setTimeout(poll, now.poll * 1000 * (1 + 0.3 * Math.random()));
  }
  async function poll() {
    timer = 0;
    let answer;
    try {
      answer = await fetch(location.href, {headers: {Accept: 'text/html'}, cache: 'no-store', redirect: 'manual', credentials: 'same-origin'});
      if (answer.type === 'opaqueredirect') return enter(true);
      if (!answer.headers.has('LineQ-State')) {
        // The site itself has answered, or nobody has.
        if (answer.status < 500) return enter();
        throw answer.status;
      }
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html').querySelector('main[data-now]');
      if (!page) return enter();
      found();
      show(JSON.parse(page.dataset.now));
      if (now.state === 'ready' || now.state === 'rejected') return enter(now.state === 'ready');
    } catch (error) {
      lost();
    }
    // Now and then events may get through again.
    if (++polls % 4 === 0) listen();
    else later();
  }

  // Pages in the background are not polled; what is seen is fresh.
  function back() {
    if (over || document.hidden) return;
    if (stream && open && Date.now() - heard < QUIET_MS) return;
    stop();
    if (failures >= TRIES) poll();
    else listen();
  }
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) back();
    else if (!stream) { clearTimeout(timer); timer = 0; }
  });
  addEventListener('online', back);
  addEventListener('offline', lost);
  addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });

  if (now.progress >= 0) $('bar').value = now.progress;
  if (now.state === 'ready') timer = setTimeout(enter, 2000);
  else listen();
})();
