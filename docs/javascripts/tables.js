// Tables that scroll sideways can be scrolled with the keyboard too.
function reachable() {
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap, .medembed-leaderboard")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  }
}
document.addEventListener("DOMContentLoaded", reachable);
