/* Browsers start no worker from a file. There, a hidden frame does the work, so that search needs no server. */
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.documentElement.append(this.frame);
      const inside = this.frame.contentWindow;
      inside.postMessage = data => setTimeout(() => this.onmessage && this.onmessage({ data }));
      this.ready = new Promise(resolve => {
        const script = inside.document.createElement("script");
        script.src = url;
        script.onload = () => resolve(inside);
        script.onerror = error => this.onerror && this.onerror(error);
        inside.document.head.append(script);
      });
    }

    postMessage(data) {
      this.ready.then(inside => inside.onmessage && inside.onmessage({ data }));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
