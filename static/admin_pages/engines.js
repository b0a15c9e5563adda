// After saving, follow the engines until each runs on the new settings.
"use strict";
{
  const panel = document.getElementById("engines");
  const look = async () => {
    const answer = await fetch(panel.dataset.url, { headers: { "X-Requested-With": "fetch" } });
    if (!answer.ok) return;
    panel.innerHTML = await answer.text();
    follow();
  };
  const follow = () => {
    if (panel && panel.querySelector("[data-waiting]")) setTimeout(() => look().catch(follow), 500);
  };
  follow();
}
