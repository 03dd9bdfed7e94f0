// A partner's app: dispatch sends stops, the driver accepts or declines them.
//
// It uses the WebPortal as its documentation teaches and nothing else. A stop is the content
// {"type": "stop", "id", "name", "address", "note"?}; the answer is {"type": "answer", "id", "answer"}.

const MY_APP_ID = 'next-stop';

// In the foreground: messages come as they arrive.
window.addEventListener('message', function(messageEvent) {
  var webportalMessage = messageEvent.data;
  if (webportalMessage.type === 'WebPortal.onCurrentNotificationReceived') {
    var mqttMessagePayload = webportalMessage.value;
    var appServerMessage = mqttMessagePayload.content;
    myHandleServerMessage(appServerMessage);
  }
});

// In the background: the last 10 wait, and are fetched now and then.
(function processWebportalPendingNotifications() {
  var pendingNotifications = WebPortal.getPendingNotifications(MY_APP_ID);
  for (var i = 0; i < pendingNotifications.length; ++i) {
    myHandleServerMessage(pendingNotifications[i].content);
  }
  setTimeout(processWebportalPendingNotifications, 5000);
})();

window.parent.postMessage({ 'type': 'WebPortal.onApplicationLoaded' }, '*');

function myHandleServerMessage(message) {
  if (message === null || typeof message !== 'object' || message.type !== 'stop') return;
  const card = document.getElementById('stop').content.cloneNode(true).firstElementChild;
  // Text stays text, whatever is in it.
  card.querySelector('h2').textContent = message.name ?? '';
  card.querySelector('address').textContent = message.address ?? '';
  card.querySelector('.note').textContent = message.note ?? '';
  card.querySelectorAll('button').forEach((button) => {
    button.onclick = () => answer(card, message.id, button.dataset.answer);
  });
  document.getElementById('stops').prepend(card);
}

function answer(card, id, chosen) {
  window.parent.postMessage({
    'type': 'WebPortal.onSendNotificationRequest',
    'value': { type: 'answer', id, answer: chosen },
  }, '*');
  card.dataset.answer = chosen;
  card.querySelectorAll('button').forEach((button) => button.remove());
  card.querySelector('.fate').textContent = chosen === 'accepted' ? '✓ Accepted' : '✕ Declined';
}
