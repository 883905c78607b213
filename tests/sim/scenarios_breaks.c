#include "scenario.h"
const struct scenario scenarios_breaks[] = {{0}};
