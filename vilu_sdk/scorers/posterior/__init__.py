r"""The default recipe: a posterior over candidates out of sources × weights × calibration.

.. math::
    q_j(x) = \sum_s w_s \, q_{s,j}(x), \qquad
    u(x) = \sigma\Bigl(a \log \tfrac{\sum_{j \ne \hat\jmath} e^{q_j}}{e^{q_{\hat\jmath}}} + c\Bigr)

Sources q_s each say something of the candidates, as functions from images to logits (`parts`):

==================  =======================================================  ======================
source              what it says                                             file
==================  =======================================================  ======================
zero-shot           the cosine of image and text, or a model built upon      `model`
class Gaussians     where the images of each class lie                       `gaussians`, `moments`
kernel              the same through a kernel, for what no line separates    `kernel`
class intercepts    how often each class should have been predicted          `intercepts`
caption regression  how far an image is from where its caption expects it    `captions`
image bank          which captions are similar to almost every image         `captions`
==================  =======================================================  ======================

Weights w are chosen by the likelihood of labels, of right and wrong or of captions, on scores of images left
out of the source, each with its whole group (`scorers.base.groups`), and are held at the base alone by a
prior (`weights`). One loop offers each class source in turn and takes it in if it gains enough (`blend`).
Calibration (a, c) is Platt's, by the same optimiser.

Three instances:

- No source but the zero-shot one: w = (1,), (a, c) = (1, 0). This is MCM, and what every fit starts from.
- Class labels: ``learn_blend(task, scale, generator, sources=(GAUSSIANS,))`` puts class Gaussians beside
  the zero-shot logits; by default `SOURCES` has kernel and intercepts too (`classes`).
- Captions: ``learn_captions(task, scale, generator, sources=(CaptionRegression, ImageBank))`` learns what
  holds for any caption (`captions`).

Around them: `recipe` chooses between the two by what is known, `left_out` says what a fit makes of its own
images without each of them, `densities` and `transfer` score candidates never seen, `adapt` moves a model to
images without labels, `portable` makes one to give away, and `once` keeps what several of
them ask of the same candidates. The method in prose is ``docs/method.md``.
"""
