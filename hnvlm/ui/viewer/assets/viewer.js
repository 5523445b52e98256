// Entry of the Streamlit component. Streamlit calls the default export on mount and whenever the data
// changes, always with the same parentElement. It must not be async: the cleanup of an overtaken call
// would then run while the viewer is still on the page.

import { Viewer } from "./app.js";

const INSTANCES = new WeakMap();

export default function (component) {
  const parent = component.parentElement;
  let viewer = INSTANCES.get(parent);
  if (!viewer) {
    viewer = new Viewer(parent);
    INSTANCES.set(parent, viewer);
  }
  viewer.update(component.data);
  return () => {
    // Deferred and checked: a cleanup may also come for a call that a newer one replaced.
    setTimeout(() => {
      if (viewer.root.isConnected) return;
      viewer.dispose();
      INSTANCES.delete(parent);
    }, 0);
  };
}
