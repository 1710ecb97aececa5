"""All fuzz targets: importing this module registers them."""

from tests.fuzz import devices as devices
from tests.fuzz import expressions as expressions
from tests.fuzz import files as files
from tests.fuzz import guest as guest
from tests.fuzz import lab as lab
from tests.fuzz import linux as linux
from tests.fuzz import qmp as qmp
from tests.fuzz import wire as wire
from tests.fuzz.target import TARGETS as TARGETS
