// "My menu" can be printed by its own button.
const button = document.getElementById("print");
button.hidden = false;
button.addEventListener("click", () => print());
