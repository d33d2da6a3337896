"""Speed and strength of the attacks beside those of other libraries, on the same models and images in one run.

    python -m benchmarks.attacks.models --archives FOLDER    # trains the models, once
    python -m benchmarks.attacks speed                       # attack by attack
    python -m benchmarks.attacks standard                    # the standard ensemble of AutoAttack
    python -m benchmarks.attacks scaling                     # time and memory by number of images

Writes results/attacks.json, measurement by measurement: a run that was killed goes on where it was, and what is there
is not measured again, unless `--again NAME` asks for it.

- The sides of a comparison take turns, `--repeats` times; the figures are those of the median. Before that each side
  runs once, so that nobody's graph tracing is counted, with each of several batch sizes where there are over 100
  images, of which it keeps the fastest.
- `art` and `foolbox` attack the Keras model itself, as their documentation shows, the `-compiled` ones the same model
  in a `tf.function`. `autoattack` is the original code of AutoAttack on the same weights in torch.
- Robust accuracy is judged here, on the original float32 model: the share of all images that it gets right and for
  which no wrong answer within epsilon was found.
- The limit is what bare gradients of the model cost: as many as the attack has steps, at the best batch size.
"""
