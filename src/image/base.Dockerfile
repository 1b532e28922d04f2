# Makes the base image from what mmdebstrap wrote, where no registry is at hand.
FROM scratch
ADD base.tar /
CMD ["bash"]
