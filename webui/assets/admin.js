// What changes something: the admin token, the question before, the answer after.
'use strict';

// One token for all forms; it is kept in this page alone.
const tokens = [...document.querySelectorAll('input.token')];
for (const input of tokens) {
  input.addEventListener('input', () => { for (const other of tokens) other.value = input.value; });
}

// Asks before what cannot be taken back; words and button say what is going to happen.
function sure(words, verb) {
  const dialog = $('sure');
  text($('sure-words'), words);
  text($('sure-yes'), verb);
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener('close', () => done(dialog.returnValue === 'yes'), {once: true});
  });
}
$('sure-yes').addEventListener('click', () => $('sure').close('yes'));
$('sure-no').addEventListener('click', () => $('sure').close());

// Sends a change to lineqd and shows in the form what came of it: `done`, or what done(result)
// says. True when it was made.
async function order(form, method, path, body, done) {
  const answerNode = form.querySelector('.answer');
  const say = (words, alarm) => {
    text(answerNode, words);
    flag(answerNode, 'alarm', alarm);
  };
  const token = form.querySelector('.token');
  if (!token.value) {
    say('The admin token is missing.', true);
    token.focus();
    return false;
  }
  say('asking lineqd …', false);
  try {
    const answer = await fetch(path, {
      method, headers: {'Content-Type': 'application/json', 'Authorization': 'Bearer ' + token.value},
      body: typeof body === 'string' || body === undefined ? body : JSON.stringify(body),
      signal: AbortSignal.timeout(10000)});
    const words = await answer.text();
    let state = null;
    try {
      state = JSON.parse(words);
    } catch {
      // an answer in plain words
    }
    const sentences = (list) => (list || []).map((e) => e.message || e).join('; ');
    if (answer.ok) {
      const news = typeof done === 'function' ? done(state && state.result) : done;
      say([news, sentences(state && state.messages)].filter(Boolean).join(' '), false);
      return true;
    }
    say(sentences(state && state.errors) || (state ? '' : words.trim().slice(0, 300)) ||
        'Refused (' + answer.status + ').', true);
  } catch {
    say('lineq-web did not answer.', true);
  }
  return false;
}
