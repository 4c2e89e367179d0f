document.body.textContent = "1bit";
