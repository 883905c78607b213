#include "scenario.h"
const struct scenario scenarios_data[] = {{0}};
