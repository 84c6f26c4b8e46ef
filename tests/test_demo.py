"""The page of `training/demo.py`, in a browser that turns the image."""

import base64
import hashlib
import json
import shutil
import threading

import demo
import keras
import numpy as np
import pytest
from helpers import assert_close
from helpers import needs_export
from small_network import build_model

from keras_sre import transforms

SHIPPED = demo.PAGE.parent / "textures"
NEEDED = ("npm", "chromium", "chromedriver")
NETWORKS = {"rings": "sre_resnet18", "plain": "resnet18"}


def write_run(folder, twin=True):
    """Writes what the page needs of a run on textures, networks untrained."""
    folder.mkdir()
    shutil.copy(SHIPPED / "config.json", folder)
    for name, where in (("rings", folder), ("plain", folder / "plain")):
        if name == "plain" and not twin:
            continue
        where.mkdir(exist_ok=True)
        model = build_model(NETWORKS[name], (32, 32, 1), classes=6)
        model.save(where / "model.keras")
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")
    keras.utils.set_random_seed(3)
    run = write_run(tmp_path_factory.mktemp("runs") / "textures")
    folder = demo.build(run)
    assert sorted(path.name for path in run.iterdir()) == [
        *("config.json", "demo", "model.keras", "plain")
    ]
    return folder


@pytest.fixture(scope="module")
def browser(page):
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for option in ("headless=new", "no-sandbox", "window-size=1200,900"):
        options.add_argument(f"--{option}")
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with (
        demo.make_server(page, 0) as server,
        webdriver.Chrome(options, service) as driver,
    ):
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        driver.get(f"http://localhost:{server.server_port}")
        wait(driver, "ready || document.body.dataset.failed")
        status = driver.find_element("id", "status").text
        assert status == "", status
        yield driver
        server.shutdown()
        thread.join()


def wait(driver, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    script = f"return document.body.dataset.{condition}"
    return WebDriverWait(driver, 60).until(lambda d: d.execute_script(script))


def turn_to(driver, angle):
    """Moves the slider; returns the turned image and the scores shown."""
    driver.execute_script(
        "const slider = document.getElementById('angle');"
        f"slider.value = {angle};"
        "slider.dispatchEvent(new Event('input'));"
    )
    wait(driver, f"angle === '{angle}'")
    return look(driver)


def look(driver):
    image = json.loads(
        driver.execute_script("return document.body.dataset.image")
    )
    scores = {}
    for card in driver.find_elements("css selector", ".card"):
        name = card.get_dom_attribute("data-network")
        scores[name] = json.loads(card.get_dom_attribute("data-scores"))
        label = card.find_element("css selector", ".label").text
        assert label == LABELS[int(np.argmax(scores[name]))]
    return np.array(image, "float32").reshape(1, 32, 32, 1), scores


def values_of(picture):
    values = np.frombuffer(base64.b64decode(picture["values"]), "<f4")
    return values.reshape(1, 32, 32, 1)


def map_of(card):
    """Returns the colours of a feature map on the page."""
    return np.array(
        card.parent.execute_script(
            "const canvas = arguments[0].querySelector('.map');"
            "const [width, height] = [canvas.width, canvas.height];"
            "return [...canvas.getContext('2d')"
            ".getImageData(0, 0, width, height).data];",
            card,
        )
    )


LABELS = ("brick", "grass", "gravel", "tissue", "cell", "retina")


def make_predict(path):
    """Returns the function that runs an exported network in Python."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(
        str(path)
    )
    interpreter.allocate_tensors()
    (into,) = interpreter.get_input_details()
    (out,) = (
        details
        for details in interpreter.get_output_details()
        if len(details["shape"]) == 2
    )

    def predict(image):
        interpreter.set_tensor(into["index"], image.astype("float32"))
        interpreter.invoke()
        return interpreter.get_tensor(out["index"])[0]

    return predict


@needs_export
def test_the_page_says_what_python_says_at_every_angle(page, browser):
    described = json.loads((page / "demo.json").read_text())
    assert described["labels"] == list(LABELS)
    picture = values_of(described["pictures"][0])
    predict = {name: make_predict(page / f"{name}.tflite") for name in NETWORKS}
    shown = {}
    for angle in range(0, 361, 15):
        image, scores = shown[angle] = turn_to(browser, angle)
        turned = transforms.rotate(picture, angle)
        assert np.mean(image == turned) > 0.98, angle  # at 45 degrees: ties
        for name in NETWORKS:
            assert_close(scores[name], predict[name](image), 1e-4)
            assert np.argmax(scores[name]) == np.argmax(predict[name](image))
    for angle in (90, 180, 270, 360):
        image, scores = shown[angle]
        np.testing.assert_array_equal(
            image, np.rot90(picture, angle // 90, (1, 2))
        )
        upright = shown[0][1]
        assert_close(scores["rings"], upright["rings"], 1e-4)
    plain = [shown[angle][1]["plain"] for angle in (0, 90, 180, 270)]
    assert np.ptp(plain, axis=0).max() > 1e-3

    # What it says of all angles, the rings around the image are drawn from.
    label = described["pictures"][0]["label"]
    for card, name in zip(
        browser.find_elements("css selector", ".card"), NETWORKS, strict=True
    ):
        right = sum(
            np.argmax(predict[name](transforms.rotate(picture, angle))) == label
            for angle in range(0, 360, 5)
        )
        tally = card.find_element("css selector", ".tally").text
        assert tally == f"Right at {right} of 72 angles."


@needs_export
def test_the_image_is_dragged_round(browser):
    from selenium.webdriver import ActionChains

    turn_to(browser, 0)
    dial = browser.find_element("id", "dial")
    reach = dial.size["width"] // 3
    actions = ActionChains(browser)
    actions.move_to_element_with_offset(dial, reach, 0).click_and_hold()
    actions.move_to_element_with_offset(dial, 0, -reach).release().perform()
    wait(browser, "angle >= 88 && document.body.dataset.angle <= 92")


@needs_export
def test_another_picture_is_chosen(page, browser):
    pictures = json.loads((page / "demo.json").read_text())["pictures"]
    assert len(pictures) == demo.NUM_PICTURES
    buttons = browser.find_elements("css selector", "#pictures button")
    turn_to(browser, 45)
    buttons[-1].click()
    wait(browser, "angle === '0'")
    image, _ = look(browser)
    np.testing.assert_array_equal(image, values_of(pictures[-1]))


@needs_export
def test_feature_maps_are_turned_back(browser):
    maps = {}
    for angle in (0, 90):
        turn_to(browser, angle)
        for card in browser.find_elements("css selector", ".card"):
            maps[card.get_dom_attribute("data-network"), angle] = map_of(card)
    change = {
        name: np.abs(maps[name, 90] - maps[name, 0]).max() for name in NETWORKS
    }
    assert change["rings"] <= 1 and change["plain"] > 20, change
    assert np.ptp(maps["rings", 0]) > 50


def test_classes_take_turns():
    class Network:
        name = "network"

        def predict_on_batch(self, images):
            return np.eye(3)[images[:, 0, 0, 0].astype(int)]

    labels = np.array([0, 0, 0, 0, 1, 1, 2] * 3)
    images = np.broadcast_to(
        labels[:, None, None, None].astype("float32"), (21, 4, 4, 1)
    ).copy()
    images[0] = 2  # taken for another class
    chosen, found = demo.choose([Network()], images, labels)
    assert len(chosen) == demo.NUM_PICTURES
    assert np.bincount(found).tolist() == [5, 4, 3]
    np.testing.assert_array_equal(chosen[:, 0, 0, 0], found)


def test_a_port_in_use_is_said_before_anything_is_built(tmp_path):
    run = write_run(tmp_path / "run")
    with demo.make_server(tmp_path, 0) as server:
        port = server.server_port
        with pytest.raises(SystemExit, match=f"port {port}: .*--port 0"):
            demo.main([str(run), "--port", str(port)])
    with pytest.raises(SystemExit, match="port 70000"):
        demo.main([str(run), "--port", "70000"])
    assert not (run / "demo").exists()


@pytest.mark.parametrize("problem", ["twin", "npm", "registry", "volumes"])
def test_bad_input_is_one_line(problem, tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", twin=problem != "twin")
    message = "no .*plain/model.keras. Train both"
    if problem == "npm":
        monkeypatch.setenv("PATH", str(tmp_path))
        message = "npm to fetch it: install Node.js"
    elif problem == "registry":
        npm = tmp_path / "npm"
        npm.write_text(
            "#!/bin/sh\nexec >&2; echo npm warn old; echo npm error code E404;"
            "echo npm error 404 Not Found; exit 1"
        )
        npm.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
        message = "npm cannot fetch @litertjs/core.*: 404 Not Found$"
    elif problem == "volumes":
        config = json.loads((run / "config.json").read_text())
        path = tmp_path / "volumes.npz"
        splits = ("train", "val", "test")
        np.savez(
            path,
            **{f"{s}_images": np.zeros((4, 8, 8, 8), "uint8") for s in splits},
            **{f"{s}_labels": np.arange(4) % 2 for s in splits},
        )
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        config |= {"dataset": str(path), "size": None, "dataset_md5": md5}
        (run / "config.json").write_text(json.dumps(config))
        message = "is not of images"
    with pytest.raises(SystemExit, match=message) as error:
        demo.main([str(run), "--build-only"])
    assert "\n" not in str(error.value)
    assert not list(run.glob(".demo*")) and not (run / "demo").exists()
