"""The playground's scripts beside the engine: runs of both from the same options."""

import json
import shutil
import subprocess

import numpy as np

from ddnmf_np.explore.page import asset
from ddnmf_np.playground.content import ENGINE, SHOWN, configured

JAVASCRIPT64 = 1e-9
"""Fifty steps in JavaScript beside NumPy, both in float64: exp is another one and sums are added in
another order, so each step differs in the last bits, and Adam magnifies that (1e-14 is what it
comes to). A forgotten term is off by 1e-3 and more."""

SCRIPTS = "\n".join(asset(name, "playground") for name in ENGINE)

NODE = shutil.which("node")


def options_of(config):
    """Return the options of a configuration as the scripts take them."""
    values = config.to_dict()
    [values["activation"]] = values["activation"]
    return {name: values[name] for name in SHOWN}


def compute(function, given, browser=None):
    """Apply a function of JavaScript to a JSON value: in node, or in a page of a browser."""
    if browser is None:
        program = (
            f"{SCRIPTS}\nconst given = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
            f"process.stdout.write(JSON.stringify(({function})(given)));"
        )
        done = subprocess.run(
            [NODE, "-e", program], input=json.dumps(given), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
    from chromium import Page

    page = Page(browser, 400, 400)
    try:
        return page.run(f"(() => {{ {SCRIPTS}\n return ({function})({json.dumps(given)}); }})()")
    finally:
        page.close()


def draw(n=70, features=24):
    """Return samples in [0, 1], the largest of which is 1."""
    x = np.random.default_rng(5).uniform(0, 1, (n, features)) ** 2
    return x / x.max()


def data_of(x):
    """Return samples as the scripts take them, but for the typed array."""
    return {"x": x.ravel().tolist(), "n": len(x), "features": x.shape[1], "high": float(x.max())}


def small(**options):
    """Return a small configuration; all widths differ."""
    fixed = {"widths": (13, 11), "rank": 5, "batch_size": 16, "epochs": 12, "seed": 3, "threads": 1}
    return configured(**(fixed | options))


def blocks_of(model):
    """Return the parameters of a model by name."""
    return {name: block for name, block in model.state().items() if ":" not in name}


def train(config, x, steps):
    """Return a model that the engine has trained for some steps."""
    model = config.make_model(x.shape[1])

    def stop(trainer):
        trainer.stop_requested = model.optimizer.t == steps

    config.make_trainer(model, x).train(steps, on_step=stop)
    return model


TRAIN = """({ options, data, steps }) => {
  data.x = Float64Array.from(data.x);
  const model = new Model(data.features, options);
  const trainer = new Trainer(model, data);
  for (let k = 0; k < steps; k++) trainer.step();
  const blocks = {};
  for (const net of NETS) {
    for (const name of Object.keys(model.nets[net].arena.shapes)) {
      blocks[`${net}.${name}`] = Array.from(model.nets[net].arena.parameters[name]);
    }
  }
  return { blocks, losses: model.losses };
}"""
"""Trains as `train` does; returns parameters and the losses of the last batch."""

CHECK = """({ options, data, steps }) => {
  data.x = Float64Array.from(data.x);
  const model = new Model(data.features, options);
  const trainer = new Trainer(model, data);
  for (let k = 0; k < steps; k++) trainer.step();
  const rejected = () => {
    const found = gradcheck(model, trainer.x, trainer.xNoisy, 5, { directions: 1 });
    return Object.keys(found).filter((name) => found[name].verdict !== "ok").sort();
  };
  const report = gradcheck(model, trainer.x, trainer.xNoisy, 5);
  const planted = [];
  for (const bug of Object.keys(BUGS)) {
    for (const net of NETS) {
      for (let l = 1; l <= model.nets[net].depth; l++) {
        const once = net === "supervisor" && l === 1 && !options.apposition_to_supervisor;
        if (bug === "leak" ? !once : !fits(model, bug, net, l)) continue;
        plantIn(model, bug, net, l);
        planted.push([bug, net, l, rejected(), brokenBlocks(model, bug, net, l).sort()]);
      }
    }
  }
  plantIn(model, null);
  return { report, planted, healed: rejected() };
}"""
"""Checks the gradients without a bug, and with each bug in each layer that can have it."""
