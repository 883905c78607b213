#include "scenario.h"
const struct scenario scenarios_log[] = {{0}};
