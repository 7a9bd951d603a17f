package grid_test
