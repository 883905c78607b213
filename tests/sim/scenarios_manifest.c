#include "scenario.h"
const struct scenario scenarios_manifest[] = {{0}};
