"""The browser viewer: what is seen of runs (``shown_run``, ``gbuffer``, ``channels``), when it is drawn (``pace``,
``scheduler``, ``turns``), what people do with it (``panels``), and the page it is shown on (``page``, ``server``)."""
