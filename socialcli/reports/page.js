const cards = [...document.querySelectorAll(".card")];
const words = document.getElementById("words");
const has = document.getElementById("has");
const shown = document.getElementById("shown");
function filter() {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const card of cards) {
    const fits = wanted.every((word) => card.dataset.words.includes(word)) &&
      (!has.value || card.dataset.has.split(" ").includes(has.value));
    card.hidden = !fits;
    count += fits;
  }
  shown.textContent = `${count} of ${cards.length} shown`;
}
if (words) {
  words.addEventListener("input", filter);
  has.addEventListener("change", filter);
  for (const card of cards) {
    const shot = card.querySelector(".shot:not(.none)");
    if (shot) {
      shot.addEventListener("click", () => {
        card.classList.toggle("big");
        card.scrollIntoView({ block: "nearest" });
      });
    }
  }
  filter();
}
